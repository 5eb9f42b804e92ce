{{/* <release>-churn-service, or the release's name if it contains the chart's. */}}
{{- define "churn.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 39 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 39 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Selector labels: dict "root" $ "component" "service" */}}
{{- define "churn.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "churn.labels" -}}
{{ include "churn.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* repository:tag, or repository@digest: dict "root" $ "image" .Values.image */}}
{{- define "churn.image" -}}
{{- if .image.digest }}{{ .image.repository }}@{{ .image.digest }}
{{- else }}{{ .image.repository }}:{{ include "churn.text" (.image.tag | default .root.Chart.AppVersion) }}{{ end }}
{{- end }}

{{- define "churn.claim" -}}
{{ .Values.artefacts.existingClaim | default (printf "%s-artefacts" (include "churn.name" .)) }}
{{- end }}

{{/* `true` if the service writes the inference log, else empty. */}}
{{- define "churn.logs" -}}
{{- if index (.Values.service.settings | default dict) "SERVICE_INFERENCE_LOG" }}true{{ end }}
{{- end }}

{{- define "churn.needsClaim" -}}
{{- if or .Values.jobs.enabled (eq .Values.registry.source "claim") (include "churn.logs" .) }}true{{ end }}
{{- end }}

{{/* A rule of a network policy: dict "port" 6379 "peers" <none: anywhere> */}}
{{- define "churn.towards" -}}
{{- with .peers }}
to: {{- toYaml . | nindent 2 }}
{{- end }}
ports: [{protocol: TCP, port: {{ int .port }}}]
{{- end }}

{{/* Training and service must trust the same types. */}}
{{- define "churn.trustedTypes" -}}
{{- with .Values.modelTrustedTypes }}
- name: MODEL_TRUSTED_TYPES
  value: {{ join " " . | quote }}
{{- end }}
{{- end }}
