{{/* What each part is: whether it serves people, decides (has OPA beside it), and as whom it signs in to the bus. */}}
{{- define "hub.traits" -}}
web: {serves: true, decides: true, bus: publish}
gate: {serves: false, decides: true, bus: gate}
handout: {serves: true, decides: true, bus: ""}
webhooks: {serves: false, decides: true, bus: ""}
files: {serves: false, decides: true, bus: publish}
retention: {serves: false, decides: false, bus: ""}
{{- end }}

{{/* The parts that run, in a fixed order. */}}
{{- define "hub.parts" -}}
{{- $parts := list "web" "gate" "handout" "webhooks" "retention" -}}
{{- if .Values.workloads.files.replicas }}{{ $parts = append $parts "files" }}{{ end -}}
{{- toJson $parts -}}
{{- end }}

{{- define "hub.selector" -}}
app.kubernetes.io/name: exchange-hub
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "hub.labels" -}}
{{ include "hub.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "hub.image" -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end }}

{{/* Kubernetes' "restricted" pod security, for the pod and for each container. */}}
{{- define "hub.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "hub.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What every process of the hub is told. */}}
{{- define "hub.environment" -}}
- {name: HUB_MODE, value: production}
- {name: HUB_ISSUER, value: {{ required "issuer: the public https address of this hub" .Values.issuer | quote }}}
- {name: HUB_HOST, value: 0.0.0.0}
- {name: HUB_BEHIND_TLS_PROXY, value: "true"}
- {name: HUB_OPERATIONS_PORT, value: "8081"}
- {name: HUB_DATA_DIR, value: /var/lib/hub}
- {name: HUB_SHARED_DIR, value: /shared}
- {name: HUB_MARKS_DIR, value: /shared}
- {name: HUB_KEY_FILE, value: /run/hub/root.key}
- {name: HUB_METRICS_TOKEN_FILE, value: /run/hub/metrics-token}
{{- if .Values.traces.endpoint }}
- {name: HUB_OTLP_ENDPOINT, value: {{ .Values.traces.endpoint | quote }}}
{{- end }}
{{- range $name, $value := .Values.settings }}
- {name: HUB_{{ upper $name }}, value: {{ toString $value | quote }}}
{{- end }}
{{- end }}

{{- define "hub.storeEnvironment" -}}
- {name: HUB_STORE_DSN, value: {{ . | quote }}}
- {name: HUB_STORE_PASSWORD_FILE, value: /run/hub/store-password}
{{- end }}

{{/* Where citizens sign in; nothing where no provider is named. */}}
{{- define "hub.signInEnvironment" -}}
{{- if .issuer }}
- {name: HUB_SIGN_IN_ISSUER, value: {{ .issuer | quote }}}
- {name: HUB_SIGN_IN_CLIENT_ID, value: {{ required "signIn.clientId: what the provider calls this hub" .clientId | quote }}}
- {name: HUB_SIGN_IN_CLAIM, value: {{ .claim | quote }}}
- {name: HUB_SIGN_IN_AGENCY, value: {{ .agency | quote }}}
- {name: HUB_SIGN_IN_SECRET_FILE, value: /run/hub/sign-in-secret}
{{- end }}
{{- end }}

{{- define "hub.busEnvironment" -}}
- {name: HUB_BUS, value: kafka}
- {name: HUB_KAFKA_BOOTSTRAP, value: {{ .bus.bootstrap | quote }}}
- {name: HUB_KAFKA_SECURITY, value: {{ .bus.security }}}
- {name: HUB_KAFKA_CA_FILE, value: /run/hub/bus-authority}
- {name: HUB_KAFKA_REPLICATION, value: {{ .bus.replication | quote }}}
- {name: HUB_KAFKA_MIN_INSYNC, value: {{ .bus.minInsync | quote }}}
{{- if eq .as "publish" }}
- {name: HUB_KAFKA_USERNAME, value: {{ .bus.users.publish | quote }}}
- {name: HUB_KAFKA_PASSWORD_FILE, value: /run/hub/bus-publish-password}
{{- else }}
- {name: HUB_KAFKA_USERNAME, value: {{ .bus.users.gate | quote }}}
- {name: HUB_KAFKA_PASSWORD_FILE, value: /run/hub/bus-gate-password}
- {name: HUB_KAFKA_PUBLISH_USERNAME, value: {{ .bus.users.publish | quote }}}
- {name: HUB_KAFKA_PUBLISH_PASSWORD_FILE, value: /run/hub/bus-publish-password}
{{- end }}
{{- if eq .as "admin" }}
- {name: HUB_KAFKA_ADMIN_USERNAME, value: {{ .bus.users.admin | quote }}}
- {name: HUB_KAFKA_ADMIN_PASSWORD_FILE, value: /run/hub/bus-admin-password}
{{- end }}
{{- end }}

{{/* The files that the variables above name: who reads knows, too, who publishes, for anybody else that may is a finding. */}}
{{- define "hub.busFiles" -}}
{{ include "hub.secretFile" (dict "of" .secrets.busAuthority "file" "bus-authority") }}
{{ include "hub.secretFile" (dict "of" .secrets.busPublishPassword "file" "bus-publish-password") }}
{{- if ne .as "publish" }}
{{ include "hub.secretFile" (dict "of" .secrets.busGatePassword "file" "bus-gate-password") }}
{{- end }}
{{- if eq .as "admin" }}
{{ include "hub.secretFile" (dict "of" .secrets.busAdminPassword "file" "bus-admin-password") }}
{{- end }}
{{- end }}

{{/* One Secret's key as a file: dict "of" {name, key} "file" NAME. */}}
{{- define "hub.secretFile" -}}
- secret: {name: {{ .of.name | quote }}, items: [{key: {{ .of.key | quote }}, path: {{ .file }}}]}
{{- end }}

{{/* Copies the secrets to memory, readable by the hub's user alone: the kubelet opens them to the pod's group, and the hub
     refuses keys that others may read. The ledger of erasures stands beside the key, on the shared claim. */}}
{{- define "hub.keysContainer" -}}
- name: keys
  image: {{ include "hub.image" .Values.image }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [/bin/sh, -ec, "umask 377; rm -f /run/hub/*; cp -L /secrets/* /run/hub/; ln -s /shared/root.key.erasures /run/hub/root.key.erasures"]
  securityContext: {{- include "hub.containerSecurity" . | nindent 4 }}
  resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 200m, memory: 64Mi}}
  volumeMounts:
    - {name: secrets, mountPath: /secrets, readOnly: true}
    - {name: keys, mountPath: /run/hub}
{{- end }}

{{- define "hub.mounts" -}}
- {name: keys, mountPath: /run/hub}
- {name: data, mountPath: /var/lib/hub}
- {name: shared, mountPath: /shared}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "hub.volumes" -}}
- {name: keys, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: data, emptyDir: {sizeLimit: 2Gi}}
- {name: tmp, emptyDir: {sizeLimit: 256Mi}}
- {name: shared, persistentVolumeClaim: {claimName: {{ required "shared.claimName: a claim that many pods mount" .Values.shared.claimName | quote }}}}
{{- end }}

{{/* Whom a policy means: pods of this namespace by label, or networks outside: dict "podLabels" "networks". */}}
{{- define "hub.peers" -}}
{{- if .networks }}
{{- range .networks }}
- ipBlock: {cidr: {{ . | quote }}}
{{- end }}
{{- else }}
- podSelector: {matchLabels: {{ toJson .podLabels }}}
{{- end }}
{{- end }}
