{{- define "kps.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* 26 characters leave room for the longest suffix within the 63 of a name. */}}
{{- define "kps.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $default := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{ .Values.fullnameOverride | default $default | trunc 26 | trimSuffix "-" }}
{{- end }}

{{- define "kps.operatorName" -}}
{{ .Values.prometheusOperator.fullnameOverride | default (printf "%s-operator" (include "kps.fullname" .)) | trunc 35 | trimSuffix "-" }}
{{- end }}

{{/* Name of a custom resource: its suffix goes with cleanPrometheusOperatorObjectNames. */}}
{{- define "kps.prometheusName" -}}
{{ include "kps.fullname" . }}{{ if not .Values.cleanPrometheusOperatorObjectNames }}-prometheus{{ end }}
{{- end }}
{{- define "kps.alertmanagerName" -}}
{{ include "kps.fullname" . }}{{ if not .Values.cleanPrometheusOperatorObjectNames }}-alertmanager{{ end }}
{{- end }}

{{- define "kps.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}
{{- define "kps.grafanaNamespace" -}}
{{ .Values.grafana.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{- define "kps.labels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.Version | replace "+" "_" | quote }}
app.kubernetes.io/part-of: {{ include "kps.name" . }}
chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
release: {{ .Release.Name | quote }}
heritage: {{ .Release.Service | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The operator's own objects carry a component; of: prometheus-operator or prometheus-operator-webhook. */}}
{{- define "kps.operatorLabels" -}}
{{ include "kps.labels" .context }}
app.kubernetes.io/name: {{ include "kps.name" .context }}-prometheus-operator
app.kubernetes.io/component: {{ .of }}
{{- end }}

{{/* Labels of a ServiceAccount: name and component of what runs as it. */}}
{{- define "kps.accountLabels" -}}
app: {{ include "kps.name" .context }}-{{ .of }}
app.kubernetes.io/name: {{ include "kps.name" .context }}-{{ .of }}
app.kubernetes.io/component: {{ .of }}
{{ include "kps.labels" .context }}
{{- end }}

{{- define "kps.operatorAccount" -}}
{{- with .Values.prometheusOperator.serviceAccount -}}
{{ .name | default (.create | ternary (include "kps.operatorName" $) "default") }}
{{- end }}
{{- end }}
{{- define "kps.prometheusAccount" -}}
{{- with .Values.prometheus.serviceAccount -}}
{{ .name | default (.create | ternary (printf "%s-prometheus" (include "kps.fullname" $)) "default") }}
{{- end }}
{{- end }}
{{- define "kps.alertmanagerAccount" -}}
{{- with .Values.alertmanager.serviceAccount -}}
{{ .name | default (.create | ternary (printf "%s-alertmanager" (include "kps.fullname" $)) "default") }}
{{- end }}
{{- end }}

{{/* image: of a value with registry, repository, tag and sha; tag: when the value has none. */}}
{{- define "kps.image" -}}
{{ .context.Values.global.imageRegistry | default .image.registry }}/{{ .image.repository }}:{{ .image.tag | default .tag }}{{ with .image.sha }}@sha256:{{ . }}{{ end }}
{{- end }}

{{- define "kps.imagePullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - {{ kindIs "string" . | ternary (dict "name" .) . | toJson }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Affinity of a custom resource's pods: the value's own and the anti-affinity that it asks for. */}}
{{- define "kps.affinity" -}}
{{- $affinity := .spec.affinity | default dict | deepCopy -}}
{{- $term := dict "topologyKey" .spec.podAntiAffinityTopologyKey "labelSelector" (dict "matchExpressions" (list
      (dict "key" "app.kubernetes.io/name" "operator" "In" "values" (list .of))
      (dict "key" .key "operator" "In" "values" (list .name)))) -}}
{{- if eq .spec.podAntiAffinity "hard" -}}
{{- $_ := set $affinity "podAntiAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $term)) -}}
{{- else if eq .spec.podAntiAffinity "soft" -}}
{{- $_ := set $affinity "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" (list (dict "weight" 100 "podAffinityTerm" $term))) -}}
{{- end -}}
{{- with $affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What a ServiceMonitor's endpoint takes from its value. */}}
{{- define "kps.scrape" -}}
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .relabelings }}
relabelings: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Labels and annotations of a hook; app: its app label, on: when it runs. */}}
{{- define "kps.hookMetadata" }}
  labels:
    app: {{ include "kps.name" .context }}-{{ .app }}
    {{- include "kps.operatorLabels" (dict "context" .context "of" "prometheus-operator-webhook") | nindent 4 }}
  annotations:
    helm.sh/hook: {{ .on }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
    {{- with .annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
