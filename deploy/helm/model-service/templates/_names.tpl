{{- define "model-service.chartName" -}}
{{ .Values.nameOverride | default .Chart.Name }}
{{- end }}

{{/* fullnameOverride, else <release>-model-service, or the release's name if it contains the chart's or ends in -service. */}}
{{- define "model-service.name" -}}
{{- $name := include "model-service.chartName" . }}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride }}
{{- else if or (contains $name .Release.Name) (hasSuffix "-service" .Release.Name) }}{{ .Release.Name | trunc 39 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name $name | trunc 39 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Selector labels: dict "root" $ "component" "service" */}}
{{- define "model-service.selector" -}}
app.kubernetes.io/name: {{ include "model-service.chartName" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "model-service.labels" -}}
{{ include "model-service.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* repository:tag, or repository@digest: dict "root" $ "image" .Values.image */}}
{{- define "model-service.image" -}}
{{- if .image.digest }}{{ .image.repository }}@{{ .image.digest }}
{{- else }}{{ .image.repository }}:{{ include "model-service.text" (.image.tag | default .root.Chart.AppVersion) }}{{ end }}
{{- end }}

{{- define "model-service.claim" -}}
{{ .Values.artefacts.existingClaim | default (printf "%s-artefacts" (include "model-service.name" .)) }}
{{- end }}

{{/* `true` if the service writes the inference log, else empty. */}}
{{- define "model-service.logs" -}}
{{- if index (.Values.service.settings | default dict) "SERVICE_INFERENCE_LOG" }}true{{ end }}
{{- end }}

{{- define "model-service.needsClaim" -}}
{{- if or .Values.jobs.enabled (eq .Values.registry.source "claim") (include "model-service.logs" .) }}true{{ end }}
{{- end }}

{{/* A rule of a network policy: dict "port" 6379 "peers" <none: anywhere> */}}
{{- define "model-service.towards" -}}
{{- with .peers }}
to: {{- toYaml . | nindent 2 }}
{{- end }}
ports: [{protocol: TCP, port: {{ int .port }}}]
{{- end }}

{{/* Training and service must trust the same types. */}}
{{- define "model-service.trustedTypes" -}}
{{- with .Values.modelTrustedTypes }}
- name: MODEL_TRUSTED_TYPES
  value: {{ join " " . | quote }}
{{- end }}
{{- end }}
