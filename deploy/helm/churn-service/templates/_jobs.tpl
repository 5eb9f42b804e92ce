{{/* A job's container without name and command: dict "root" $ "values" <of the job> "job" <what it needs> */}}
{{- define "churn.jobContainer" -}}
image: {{ include "churn.image" (dict "root" .root "image" .root.Values.jobs.image) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{ include "churn.containerSecurity" . }}
env:
  {{- if .job.redis }}
  {{- include "churn.redisUrl" (dict "root" .root "key" .root.Values.redis.jobsUrlKey) | nindent 2 }}
  {{- end }}
  {{- include "churn.registryUrl" (dict "root" .root "path" "/artefacts/feast/registry.db") | nindent 2 }}
  {{- range $name, $place := dict
    "ORDERS_PATH" "data/orders.parquet"
    "STREAMED_ORDERS_DIR" "data/streamed_orders"
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
  {{- include "churn.trustedTypes" .root | nindent 2 }}
  {{- if not (hasKey (.root.Values.jobs.settings | default dict) "JOBS_OWNER") }}
  - name: JOBS_OWNER
    value: {{ printf "%s/%s" .root.Release.Namespace .root.Release.Name | quote }}
  {{- end }}
  {{- include "churn.settings" .root.Values.jobs.settings | nindent 2 }}
resources: {{- include "churn.resources" .values.resources | nindent 2 }}
volumeMounts:
  - {name: temporary, mountPath: /tmp}
  - {name: artefacts, mountPath: /artefacts}
  {{- if and .job.pseudonyms .root.Values.service.pseudonyms.existingSecret }}
  - {name: pseudonyms, mountPath: /etc/pseudonyms, readOnly: true}
  {{- end }}
  {{- if .job.redis }}
  {{- include "churn.tlsMount" .root | nindent 2 }}
  {{- end }}
{{- end }}
