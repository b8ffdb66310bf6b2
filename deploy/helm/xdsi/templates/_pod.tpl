{{/* The pod of a service; called with (dict "root" $ "name" SERVICE "service" VALUES). */}}

{{- define "xdsi.environment" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $url := dict -}}
{{- range $name := list "registry" "repository" "imaging-source" -}}
{{- $_ := set $url $name (include "xdsi.url" (dict "root" $root "name" $name)) -}}
{{- end -}}
{{- $env := dict
      "XDSI_HOST" "0.0.0.0"
      "XDSI_DRAIN_SECONDS" "5"
      "XDSI_HEALTH_HOST" "0.0.0.0"
      "XDSI_HEALTH_PORT" (include "xdsi.health-port" .)
      "XDSI_PUBLIC_URL" (.service.publicUrl | default (include "xdsi.url" .))
      "XDSI_AFFINITY_DOMAIN" $values.community.affinityDomain
      "XDSI_HOME_COMMUNITY_ID" $values.community.homeCommunityId
      "XDSI_REGISTRY_URL" (printf "%s/xds/registry" $url.registry)
      "XDSI_REPOSITORY_URL" (printf "%s/xds/repository" $url.repository)
      "XDSI_IMAGING_SOURCE_URL" (printf "%s/xds/imaging-source" (get $url "imaging-source"))
      "XDSI_AUDIT__URL" (printf "tls://%s:6514" (include "xdsi.member" (dict "root" $root "name" "audit-repository")))
      "XDSI_TLS__CERTIFICATE" "/run/xdsi/tls/tls.crt"
      "XDSI_TLS__KEY" "/run/xdsi/tls/tls.key"
      "XDSI_TLS__TRUST" "/run/xdsi/tls/ca.crt"
      "XDSI_TLS__CHECK_HOST_NAMES" "true" -}}
{{- if eq .name "consumer" -}}
{{- $_ := set $env "XDSI_DICOMWEB_PEERS" (list (get $url "imaging-source") | toJson) -}}
{{- end -}}
{{- if and $values.database.secretName (not (has .name (list "consumer" "gateway"))) -}}
{{- $_ := set $env "XDSI_DATABASE_WAIT_SECONDS" "300" -}}
{{- $_ := set $env "XDSI_DATABASE_URL__FILE" (printf "/run/xdsi/database/%s" $values.database.key) -}}
{{- end -}}
{{- if and $values.s3.bucket (has .name (list "repository" "imaging-source")) -}}
{{- $_ := set $env "XDSI_STORAGE_URL" (printf "s3://%s/%s" $values.s3.bucket $values.s3.prefix) -}}
{{- $_ := set $env "XDSI_S3__REGION" $values.s3.region -}}
{{- with $values.s3.endpoint }}{{ $_ := set $env "XDSI_S3__ENDPOINT" . }}{{ end -}}
{{- $_ := set $env "XDSI_S3__ACCESS_KEY__FILE" "/run/xdsi/s3/access-key" -}}
{{- $_ := set $env "XDSI_S3__SECRET_KEY__FILE" "/run/xdsi/s3/secret-key" -}}
{{- if $values.s3.trust }}{{ $_ := set $env "XDSI_S3__TRUST" "/run/xdsi/s3/ca.crt" }}{{ end -}}
{{- end -}}
{{- if $values.community.assertionIssuers -}}
{{- $issuers := dict -}}
{{- range $issuer, $_ := $values.community.assertionIssuers -}}
{{- $_ := set $issuers $issuer (printf "/etc/xdsi/issuers/%s.pem" (sha256sum $issuer | trunc 16)) -}}
{{- end -}}
{{- $_ := set $env "XDSI_ASSERTION__ISSUERS" ($issuers | toJson) -}}
{{- end -}}
{{- $env = mergeOverwrite $env (deepCopy ($values.settings | default dict)) (deepCopy (.service.settings | default dict)) -}}
{{- range $name, $value := $env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "xdsi.probe" -}}
httpGet:
  path: /health/live
  port: health
periodSeconds: {{ .every }}
timeoutSeconds: 6
failureThreshold: {{ .failures }}
{{- end }}

{{- define "xdsi.pod" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $hasDatabase := and $values.database.secretName (not (has .name (list "consumer" "gateway"))) -}}
{{- $hasStore := and $values.s3.bucket (has .name (list "repository" "imaging-source")) -}}
metadata:
  labels: {{- include "xdsi.labels" (dict "root" $root "name" .name) | nindent 4 }}
  annotations:
    checksum/issuers: {{ $values.community.assertionIssuers | toJson | sha256sum }}
spec:
  # Its variables would be taken for settings of ours.
  enableServiceLinks: false
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 50
  {{- with $values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "xdsi.selector" . | nindent 10 }}
  {{- with $values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .name }}
      image: {{ include "xdsi.image" $root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: [{{ .name }}]
      env: {{- include "xdsi.environment" . | trim | nindent 8 }}
      ports:
        {{- range $port, $number := get (include "xdsi.ports" $root | fromYaml) .name }}
        - name: {{ $port }}
          containerPort: {{ $number }}
        {{- end }}
        - name: health
          containerPort: {{ include "xdsi.health-port" . }}
      # It lives before it listens, while its database is waited for.
      startupProbe:
        tcpSocket:
          port: https
        periodSeconds: 2
        failureThreshold: 180
      livenessProbe: {{- include "xdsi.probe" (dict "every" 20 "failures" 3) | nindent 8 }}
      # A service whose database is away for a while still answers, that it is busy: readiness by /health/ready would
      # take away all replicas at once.
      readinessProbe: {{- include "xdsi.probe" (dict "every" 10 "failures" 2) | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      {{- with .service.resources }}
      resources: {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: data
          mountPath: /var/lib/xdsi
        - name: tls
          mountPath: /run/xdsi/tls
          readOnly: true
        {{- if $hasDatabase }}
        - name: database
          mountPath: /run/xdsi/database
          readOnly: true
        {{- end }}
        {{- if $hasStore }}
        - name: s3
          mountPath: /run/xdsi/s3
          readOnly: true
        {{- end }}
        {{- if $values.community.assertionIssuers }}
        - name: issuers
          mountPath: /etc/xdsi/issuers
          readOnly: true
        {{- end }}
  volumes:
    - name: tls
      secret:
        secretName: {{ include "xdsi.tls-secret" $root }}
        defaultMode: 0440
    {{- if $hasDatabase }}
    - name: database
      secret:
        secretName: {{ $values.database.secretName }}
        defaultMode: 0440
    {{- end }}
    {{- if $hasStore }}
    - name: s3
      secret:
        secretName: {{ required "s3.secretName: name a Secret with access-key and secret-key" $values.s3.secretName }}
        defaultMode: 0440
    {{- end }}
    {{- if $values.community.assertionIssuers }}
    - name: issuers
      configMap:
        name: {{ include "xdsi.prefix" $root }}-issuers
    {{- end }}
    {{- if not .service.storage.size }}
    - name: data
      emptyDir: {}
    {{- end }}
{{- end }}
