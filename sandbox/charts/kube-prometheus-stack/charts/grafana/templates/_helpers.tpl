{{- define "grafana.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{ .Values.fullnameOverride | default (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- define "grafana.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}
{{- define "grafana.selector" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "grafana.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{ include "grafana.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with .Values.extraLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- define "grafana.account" -}}
{{ .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "grafana.fullname" .) "default") }}
{{- end }}
{{- define "grafana.secret" -}}
{{ .Values.admin.existingSecret | default (include "grafana.fullname" .) }}
{{- end }}
{{/* A password that the release has already stays as it is. */}}
{{- define "grafana.password" -}}
{{- $existing := dig "data" "admin-password" "" (lookup "v1" "Secret" (include "grafana.namespace" .) (include "grafana.fullname" .)) -}}
{{ .Values.adminPassword | default ($existing | b64dec) | default (randAlphaNum 40) | b64enc }}
{{- end }}

{{- define "grafana.adminEnv" -}}
{{- range $prefix, $key := dict .user .context.Values.admin.userKey .password .context.Values.admin.passwordKey }}
- name: {{ $prefix }}
  valueFrom: {secretKeyRef: {name: {{ include "grafana.secret" $.context }}, key: {{ $key }}}}
{{- end }}
{{- end }}

{{- define "grafana.sidecar" -}}
- name: grafana-sc-{{ .name }}
  image: {{ .context.Values.global.imageRegistry | default .context.Values.sidecar.image.registry }}/{{ .context.Values.sidecar.image.repository }}:{{ .context.Values.sidecar.image.tag }}
  imagePullPolicy: {{ .context.Values.sidecar.imagePullPolicy }}
  env:
    {{- range $name, $value := .value.env }}
    - {name: {{ $name }}, value: {{ $value | quote }}}
    {{- end }}
    - {name: METHOD, value: {{ .value.watchMethod }}}
    - {name: LABEL, value: {{ .value.label | quote }}}
    {{- with .value.labelValue }}
    - {name: LABEL_VALUE, value: {{ . | quote }}}
    {{- end }}
    - {name: FOLDER, value: {{ .folder | quote }}}
    - {name: RESOURCE, value: {{ .value.resource | quote }}}
    {{- if .context.Values.sidecar.enableUniqueFilenames }}
    - {name: UNIQUE_FILENAMES, value: "true"}
    {{- end }}
    {{- with .value.searchNamespace }}
    - {name: NAMESPACE, value: {{ kindIs "slice" . | ternary (join "," .) . | quote }}}
    {{- end }}
    {{- with .value.folderAnnotation }}
    - {name: FOLDER_ANNOTATION, value: {{ . | quote }}}
    {{- end }}
    {{- with .value.resourceName }}
    - {name: RESOURCE_NAME, value: {{ . | quote }}}
    {{- end }}
    {{- if not .value.skipReload }}
    {{- include "grafana.adminEnv" (dict "context" .context "user" "REQ_USERNAME" "password" "REQ_PASSWORD") | nindent 4 }}
    - {name: REQ_URL, value: {{ .value.reloadURL }}}
    - {name: REQ_METHOD, value: POST}
    {{- end }}
  resources: {{- toYaml .context.Values.sidecar.resources | nindent 4 }}
  securityContext: {{- toYaml .context.Values.sidecar.securityContext | nindent 4 }}
  volumeMounts:
    - {name: sc-{{ .volume }}-volume, mountPath: {{ .folder | quote }}}
{{- end }}
