{{/* A job's container without name and command: dict "root" $ "values" <of the job> "job" <what it needs> */}}
{{- define "model-service.jobContainer" -}}
image: {{ include "model-service.image" (dict "root" .root "image" .root.Values.jobs.image) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{ include "model-service.containerSecurity" . }}
{{ include "model-service.environment" (dict "own" (include "model-service.jobEnvironment" .) "values" .root.Values.jobs "key" "jobs") }}
resources: {{- include "model-service.resources" .values.resources | nindent 2 }}
{{ include "model-service.volumeMounts" (dict "own" (include "model-service.jobMounts" .) "values" .root.Values.jobs "key" "jobs") }}
{{- end }}

{{- define "model-service.jobEnvironment" -}}
{{- if .job.redis }}
{{- include "model-service.redisUrl" (dict "root" .root "key" .root.Values.redis.jobsUrlKey) | nindent 0 }}
{{- end }}
{{- include "model-service.registryUrl" (dict "root" .root "path" "/artefacts/feast/registry.db") | nindent 0 }}
{{- range $name, $place := dict
  "OFFLINE_STORE_DIR" "offline_store"
  "MATERIALIZE_RUNS_PATH" "reports/materialize/runs.jsonl"
  "INFERENCE_LOG_DIR" "inference_log"
  "MODEL_TAG_PATH" "model_tag"
  "CHALLENGER_PATH" "challenger.json"
  "BENTOML_HOME" "bentoml" }}
- name: {{ $name }}
  value: /artefacts/{{ $place }}
{{- end }}
- name: HOME
  value: /tmp
{{- include "model-service.settings" .root.Values.jobs.env | nindent 0 }}
{{- with .root.Values.mlflow }}
{{- if .trackingUri }}
- name: MLFLOW_TRACKING_URI
  value: {{ .trackingUri | quote }}
{{- end }}
{{- if .existingSecret }}
- name: MLFLOW_TRACKING_USERNAME
  valueFrom: {secretKeyRef: {name: {{ .existingSecret | quote }}, key: username}}
- name: MLFLOW_TRACKING_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .existingSecret | quote }}, key: password}}
{{- end }}
{{- end }}
{{- include "model-service.trustedTypes" .root | nindent 0 }}
{{- if not (hasKey (.root.Values.jobs.settings | default dict) "JOBS_OWNER") }}
- name: JOBS_OWNER
  value: {{ printf "%s/%s" .root.Release.Namespace .root.Release.Name | quote }}
{{- end }}
{{- include "model-service.settings" .root.Values.jobs.settings | nindent 0 }}
{{- end }}

{{- define "model-service.jobMounts" -}}
- {name: temporary, mountPath: /tmp}
- {name: artefacts, mountPath: /artefacts}
{{- if and .job.pseudonyms .root.Values.service.pseudonyms.existingSecret }}
- {name: pseudonyms, mountPath: /etc/pseudonyms, readOnly: true}
{{- end }}
{{- if .job.redis }}
{{- include "model-service.tlsMount" .root | nindent 0 }}
{{- end }}
{{- end }}

{{- define "model-service.jobVolumes" -}}
- name: temporary
  emptyDir: {sizeLimit: {{ include "model-service.text" .root.Values.jobs.temporarySpace | quote }}}
- name: artefacts
  persistentVolumeClaim: {claimName: {{ include "model-service.claim" .root | quote }}}
{{- if and .job.pseudonyms .root.Values.service.pseudonyms.existingSecret }}
- name: pseudonyms
  secret: {secretName: {{ .root.Values.service.pseudonyms.existingSecret | quote }}}
{{- end }}
{{- if .job.redis }}
{{- include "model-service.tlsVolume" .root | nindent 0 }}
{{- end }}
{{- end }}
