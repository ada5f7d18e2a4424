# Completes each line of standard input as bash does at a Tab, through kubectl's own
# completion; the values of a line end with a line that holds a dot.
source "$BASH_COMPLETION"
source <(kubectl completion bash)
compopt() { :; } # there is no line editor here whose options it could set
while IFS= read -r line; do
  COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9
  read -ra COMP_WORDS <<<"$line"
  [[ $line == *" " ]] && COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMPREPLY=()
  __start_kubectl
  printf '%s\n' "${COMPREPLY[@]}"
  echo .
done
