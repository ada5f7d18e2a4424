{{- define "dcgm-exporter.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "dcgm-exporter.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $default := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{ .Values.fullnameOverride | default $default | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "dcgm-exporter.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{- define "dcgm-exporter.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "dcgm-exporter.fullname" .) "default") }}
{{- end }}

{{- define "dcgm-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dcgm-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ include "dcgm-exporter.name" . }}
{{- end }}

{{- define "dcgm-exporter.metadata" -}}
namespace: {{ include "dcgm-exporter.namespace" . }}
labels:
  {{- include "dcgm-exporter.labels" . | nindent 2 }}
{{- end }}

{{- define "dcgm-exporter.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "dcgm-exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* "true" if the pods ask the API server about other pods. */}}
{{- define "dcgm-exporter.readsPods" -}}
{{- $k := .Values.kubernetes -}}
{{ or (and (or $k.enablePodLabels $k.enablePodUID) $k.rbac.create) .Values.kubernetesDRA.enabled | ternary "true" "" }}
{{- end }}

{{- define "dcgm-exporter.tlsSecretName" -}}
{{ tpl .Values.tlsServerConfig.existingSecret . | default (printf "%s-tls" (include "dcgm-exporter.fullname" .)) }}
{{- end }}

{{- define "dcgm-exporter.webConfigName" -}}
{{ include "dcgm-exporter.fullname" . }}-web-config.yml
{{- end }}

{{- define "dcgm-exporter.probe" -}}
{{- if .Values.basicAuth.users }}
tcpSocket: {port: {{ .Values.service.port }}}
{{- else }}
httpGet:
  path: /health
  port: {{ .Values.service.port }}
  scheme: {{ .Values.tlsServerConfig.enabled | ternary "HTTPS" "HTTP" }}
{{- end }}
{{- end }}
