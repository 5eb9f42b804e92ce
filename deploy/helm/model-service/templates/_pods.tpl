{{/* A value as text: a whole number must not become 1e+06. */}}
{{- define "model-service.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{- define "model-service.settings" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ include "model-service.text" $value | quote }}
{{- end }}
{{- end }}

{{/* Security of every pod: no root, no access to the Kubernetes API. The argument is the user's id. */}}
{{- define "model-service.podSecurity" -}}
automountServiceAccountToken: false
# Else a Kubernetes service named "service" would set variables named like our settings.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ . }}
  runAsGroup: {{ . }}
  fsGroup: {{ . }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "model-service.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* Address of Redis with user and password: dict "root" $ "key" <key of the secret> */}}
{{- define "model-service.redisUrl" -}}
- name: REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ required "redis.existingSecret names the secret that holds the addresses of Redis" .root.Values.redis.existingSecret | quote }}
      key: {{ .key | quote }}
{{- end }}

{{/* Address of the registry: dict "root" $ "path" <of a registry file> */}}
{{- define "model-service.registryUrl" -}}
- name: FEAST_REGISTRY
{{- if eq .root.Values.registry.source "secret" }}
  valueFrom:
    secretKeyRef:
      name: {{ .root.Values.registry.existingSecret | quote }}
      key: {{ .root.Values.registry.key | quote }}
{{- else }}
  value: {{ .path }}
{{- end }}
{{- end }}

{{/* TLS mount of every pod that uses Redis. */}}
{{- define "model-service.tlsMount" -}}
{{- if .Values.redis.tlsSecret }}
- name: redis-tls
  mountPath: /etc/redis-tls
  readOnly: true
{{- end }}
{{- end }}

{{- define "model-service.tlsVolume" -}}
{{- if .Values.redis.tlsSecret }}
- name: redis-tls
  secret:
    secretName: {{ .Values.redis.tlsSecret | quote }}
{{- end }}
{{- end }}

{{/* Kubernetes resources with amounts as text: the argument holds requests, limits, both or neither. */}}
{{- define "model-service.resources" -}}
{{- $resources := dict }}
{{- range $kind, $amounts := . }}
{{- $texts := dict }}
{{- range $name, $amount := $amounts }}
{{- $texts = set $texts $name (include "model-service.text" $amount) }}
{{- end }}
{{- $resources = set $resources $kind $texts }}
{{- end }}
{{- toYaml $resources }}
{{- end }}
