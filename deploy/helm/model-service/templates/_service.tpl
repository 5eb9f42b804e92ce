{{- define "model-service.serviceEnvironment" -}}
{{- $service := .Values.service }}
{{- include "model-service.redisUrl" (dict "root" $ "key" .Values.redis.serviceUrlKey) | nindent 0 }}
{{- include "model-service.registryUrl" (dict "root" $ "path" "/registry/registry.db") | nindent 0 }}
# `GET /model` returns it: the image's name in this cluster.
- name: SERVICE_IMAGE
  value: {{ include "model-service.image" (dict "root" $ "image" .Values.image) | quote }}
- name: INFERENCE_LOG_DIR
  value: /inference_log
{{- if $service.apiKeys.existingSecret }}
- name: SERVICE_API_KEYS_FILE
  value: /etc/api-keys/{{ $service.apiKeys.key }}
{{- end }}
{{- if $service.pseudonyms.existingSecret }}
- name: SERVICE_INFERENCE_LOG_ID_KEY_FILE
  value: /etc/pseudonyms/{{ $service.pseudonyms.key }}
{{- end }}
{{- include "model-service.trustedTypes" . | nindent 0 }}
{{- include "model-service.settings" $service.settings | nindent 0 }}
{{- include "model-service.settings" $service.otel | nindent 0 }}
{{- end }}

{{- define "model-service.serviceMounts" -}}
{{- $service := .Values.service }}
- {name: temporary, mountPath: /tmp}
{{- if eq .Values.registry.source "claim" }}
- {name: artefacts, mountPath: /registry, subPath: feast, readOnly: true}
{{- else if eq .Values.registry.source "configMap" }}
- {name: registry, mountPath: /registry, readOnly: true}
{{- end }}
{{- if include "model-service.logs" . }}
- {name: artefacts, mountPath: /inference_log, subPath: inference_log}
{{- end }}
{{- if $service.apiKeys.existingSecret }}
- {name: api-keys, mountPath: /etc/api-keys, readOnly: true}
{{- end }}
{{- if $service.pseudonyms.existingSecret }}
- {name: pseudonyms, mountPath: /etc/pseudonyms, readOnly: true}
{{- end }}
{{- include "model-service.tlsMount" . | nindent 0 }}
{{- end }}

{{- define "model-service.serviceVolumes" -}}
{{- $service := .Values.service }}
- name: temporary
  emptyDir: {sizeLimit: {{ include "model-service.text" $service.temporarySpace | quote }}}
{{- if or (eq .Values.registry.source "claim") (include "model-service.logs" .) }}
- name: artefacts
  persistentVolumeClaim: {claimName: {{ include "model-service.claim" . | quote }}}
{{- end }}
{{- if eq .Values.registry.source "configMap" }}
- name: registry
  configMap: {name: {{ .Values.registry.configMap | quote }}}
{{- end }}
{{- with $service.apiKeys.existingSecret }}
- name: api-keys
  secret: {secretName: {{ . | quote }}}
{{- end }}
{{- with $service.pseudonyms.existingSecret }}
- name: pseudonyms
  secret: {secretName: {{ . | quote }}}
{{- end }}
{{- include "model-service.tlsVolume" . | nindent 0 }}
{{- end }}
