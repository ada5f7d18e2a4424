# Types each line of standard input into an interactive zsh, presses Tab, and waits
# until the line reads as it says after the =, in which it prints that.
[[ -n $ZSH_MODULES ]] && module_path=($ZSH_MODULES)
zmodload zsh/zpty
zpty shell "env TERM=vt100 $ZSH -f -i"
[[ -n $ZSH_MODULES ]] && zpty -w shell "module_path=($ZSH_MODULES); fpath=($ZSH_FUNCTIONS/*(/) $ZSH_FUNCTIONS/Completion/*(/))"
zpty -w shell "PS1='> '; autoload -Uz compinit; compinit -u -D; source <(kubectl completion zsh); print rea''dy"
zpty -r -m shell seen '*ready*'
while IFS= read -r line; do
  zpty -w -n shell "${line%%=*}"$'\t'
  zpty -r -m shell seen "*${line#*=}*"
  print -r -- "${line#*=}"
  zpty -w -n shell $'\x15'
done
zpty -d shell
