{{/* Rules between values, which the schema cannot express. Each error names the conflicting keys. */}}
{{- define "model-service.refusals" -}}
{{- $v := .Values }}
{{- $log := include "model-service.logs" . }}
{{- if not (or $v.service.apiKeys.existingSecret (index ($v.service.settings | default dict) "SERVICE_ALLOW_ANONYMOUS")) }}
{{- fail "service.apiKeys.existingSecret: name a secret, or let anybody ask with service.settings.SERVICE_ALLOW_ANONYMOUS: true" }}
{{- end }}
{{- range $key, $image := dict "image" $v.image "jobs.image" $v.jobs.image }}
{{- if and (kindIs "float64" $image.tag) (ne (floor $image.tag) $image.tag) }}
{{- fail (printf "%s.tag is the number %v, and its text is lost: put the tag in quotes" $key $image.tag) }}
{{- end }}
{{- end }}
{{- $least := ternary $v.autoscaling.minReplicas $v.service.replicas $v.autoscaling.enabled | int }}
{{- if and $v.autoscaling.enabled (gt $least (int $v.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" }}
{{- end }}
{{- $kept := $v.disruptionBudget.minAvailable }}
{{- if kindIs "string" $kept }}{{ $kept = ceil (divf (mulf (trimSuffix "%" $kept) $least) 100) }}{{ end }}
{{- if and $v.disruptionBudget.enabled (ge (int $kept) $least) }}
{{- $key := ternary "autoscaling.minReplicas" "service.replicas" $v.autoscaling.enabled }}
{{- fail (printf "disruptionBudget.minAvailable (%v) must be below %s (%v): no node could ever be drained" $v.disruptionBudget.minAvailable $key $least) }}
{{- end }}
{{- if and (eq $v.registry.source "configMap") (not $v.registry.configMap) }}
{{- fail "registry.configMap names the ConfigMap that holds registry.db, where registry.source is configMap" }}
{{- end }}
{{- if and (eq $v.registry.source "secret") (not $v.registry.existingSecret) }}
{{- fail "registry.existingSecret names the secret that holds the registry's address, where registry.source is secret" }}
{{- end }}
{{- if $v.jobs.enabled }}
{{- range $name := list "auditSkew" "drift" "liveQuality" }}
{{- if and (index $v.jobs $name).enabled (not $log) }}
{{- fail (printf "jobs.%s.enabled reads the inference log: set service.settings.SERVICE_INFERENCE_LOG: true" $name) }}
{{- end }}
{{- end }}
{{- range $name := list "auditSkew" "drift" "liveQuality" "retrain" }}
{{- if and (index $v.jobs $name).enabled (not $v.mlflow.trackingUri) }}
{{- fail (printf "jobs.%s.enabled needs mlflow.trackingUri, where models are registered" $name) }}
{{- end }}
{{- end }}
{{- else if $v.monitoring.jobMetrics.enabled }}
{{- fail "monitoring.jobMetrics.enabled serves the figures of the jobs: set jobs.enabled: true" }}
{{- end }}
{{- if and $v.monitoring.serviceMonitor.enabled $v.networkPolicy.enabled (not $v.networkPolicy.scrapers) }}
{{- fail "networkPolicy.scrapers: say where Prometheus is, or monitoring.serviceMonitor.enabled finds a closed port" }}
{{- end }}
{{- if and $v.service.pseudonyms.existingSecret (not $log) }}
{{- fail "service.pseudonyms.existingSecret is for the inference log: set service.settings.SERVICE_INFERENCE_LOG: true" }}
{{- end }}
{{- if and $v.autoscaling.enabled (eq $v.autoscaling.by "prometheus") (not $v.autoscaling.prometheus.serverAddress) }}
{{- fail "autoscaling.prometheus.serverAddress: say where Prometheus answers, where autoscaling.by is prometheus" }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) }}
{{- fail "ingress.hosts names the hosts of the Ingress, where ingress.enabled is true" }}
{{- end }}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs names the gateways of the HTTPRoute, where httpRoute.enabled is true" }}
{{- end }}
{{- $images := dict "image" $v.image }}
{{- if $v.jobs.enabled }}{{ $images = set $images "jobs.image" $v.jobs.image }}{{ end }}
{{- range $key, $image := $images }}
{{- if not $image.repository }}
{{- fail (printf "%s.repository names no image: the values of your use case do (docs/operations/kubernetes.md)" $key) }}
{{- end }}
{{- end }}
{{- end }}
