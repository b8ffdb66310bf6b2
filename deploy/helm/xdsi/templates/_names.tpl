{{/* Names, labels and ports, once for all. `xdsi.member` is called with (dict "root" $ "name" SERVICE). */}}

{{- define "xdsi.prefix" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "xdsi.member" -}}
{{ include "xdsi.prefix" .root }}-{{ .name }}
{{- end }}

{{- define "xdsi.release-selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "xdsi.selector" -}}
{{ include "xdsi.release-selector" .root }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "xdsi.release-labels" -}}
{{ include "xdsi.release-selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "xdsi.labels" -}}
{{ include "xdsi.release-labels" .root }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{/* Ports of a service by name, https first. */}}
{{- define "xdsi.ports" -}}
registry: {https: 8010, mllp: 2576}
repository: {https: 8020}
imaging-source: {https: 8030, dicom: 11112}
consumer: {https: 8040}
audit-repository: {https: 8050, syslog: 6514}
gateway: {https: 8060}
{{- end }}

{{/* Where every service shows its health and metrics, without TLS. */}}
{{- define "xdsi.health-port" -}}
8070
{{- end }}

{{- define "xdsi.url" -}}
{{- $ports := get (include "xdsi.ports" .root | fromYaml) .name -}}
https://{{ include "xdsi.member" . }}:{{ $ports.https }}
{{- end }}

{{- define "xdsi.tls-secret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{ include "xdsi.prefix" . }}-node
{{- else -}}
{{ required "tls.secretName: name a Secret with tls.crt, tls.key and ca.crt, or enable tls.certManager" .Values.tls.secretName }}
{{- end -}}
{{- end }}

{{- define "xdsi.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What several replicas need to share. */}}
{{- define "xdsi.check" -}}
{{- $several := or (gt (int .service.replicas) 1) (and .service.autoscaling .service.autoscaling.enabled) -}}
{{- if and $several (has .name (list "registry" "repository" "imaging-source")) (not .root.Values.database.secretName) -}}
{{- fail (printf "services.%s.replicas: several need one database; name database.secretName" .name) -}}
{{- end -}}
{{- if and $several (has .name (list "repository" "imaging-source")) (not .root.Values.s3.bucket) -}}
{{- fail (printf "services.%s.replicas: several need one object store; name s3.bucket" .name) -}}
{{- end -}}
{{- if and (not .service.storage.size) (has .name (list "registry" "repository" "imaging-source")) (not .root.Values.database.secretName) -}}
{{- fail (printf "services.%s.storage.size: without a volume it needs database.secretName" .name) -}}
{{- end -}}
{{- if and (not .service.storage.size) (has .name (list "repository" "imaging-source")) (not .root.Values.s3.bucket) -}}
{{- fail (printf "services.%s.storage.size: without a volume it needs s3.bucket" .name) -}}
{{- end -}}
{{- end }}
