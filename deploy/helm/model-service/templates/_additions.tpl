{{/* What values add to pods. Nothing that the chart sets itself can be replaced so. */}}

{{/* The chart's list and the values' list, in one: dict "own" <YAML> "more" <list> "by" <member that must differ> "key" <of the values> */}}
{{- define "model-service.added" -}}
{{- $own := .own | fromYamlArray }}
{{- $taken := dict }}
{{- range $own }}{{ $taken = set $taken (index . $.by) true }}{{ end }}
{{- range .more }}
{{- $name := index . $.by }}
{{- if hasKey $taken $name }}
{{- fail (printf "%s: %s %s is taken, by the chart or twice: choose another, or the value that is for it" $.key $.by $name) }}
{{- end }}
{{- $taken = set $taken $name true }}
{{- end }}
{{- toYaml (concat $own (.more | default list)) }}
{{- end }}

{{/* env and envFrom of a container: dict "own" <YAML> "values" .Values.service "key" "service" */}}
{{- define "model-service.environment" -}}
env: {{- include "model-service.added" (dict "own" .own "more" .values.extraEnv "by" "name" "key" (printf "%s.extraEnv" .key)) | nindent 2 }}
{{- with .values.extraEnvFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "model-service.volumeMounts" -}}
volumeMounts: {{- include "model-service.added" (dict "own" .own "more" .values.extraVolumeMounts "by" "mountPath" "key" (printf "%s.extraVolumeMounts" .key)) | nindent 2 }}
{{- end }}

{{- define "model-service.volumes" -}}
volumes: {{- include "model-service.added" (dict "own" .own "more" .values.extraVolumes "by" "name" "key" (printf "%s.extraVolumes" .key)) | nindent 2 }}
{{- end }}

{{/* Labels of a pod: dict "root" $ "component" "service" "values" .Values.service "key" "service" */}}
{{- define "model-service.podLabels" -}}
{{- $own := include "model-service.labels" . | fromYaml }}
{{- range $name, $_ := .values.podLabels }}
{{- if hasKey $own $name }}{{ fail (printf "%s.podLabels: %s is a label of the chart" $.key $name) }}{{ end }}
{{- end }}
{{- toYaml (merge $own (.values.podLabels | default dict)) }}
{{- end }}

{{/* Where pods may run. The argument is .Values.service or .Values.jobs. */}}
{{- define "model-service.placement" -}}
{{- range $name := list "nodeSelector" "affinity" "tolerations" }}
{{- with index $ $name }}
{{ $name }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
