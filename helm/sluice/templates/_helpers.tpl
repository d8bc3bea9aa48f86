{{- define "sluice.name" -}}
{{ printf "%s-%s" .root.Release.Name .part | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "sluice.labels" -}}
app.kubernetes.io/name: sluice
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "sluice.image" -}}
{{- $repository := required "image.repository is not set: name the image that you built, there is no default" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ printf "%s@%s" $repository .Values.image.digest }}
{{- else -}}
{{ printf "%s:%s" $repository (required "image.tag is not set: name a version, or image.digest" .Values.image.tag) }}
{{- end -}}
{{- end }}

{{- define "sluice.claim" -}}
{{ .Values.workspace.existingClaim | default (printf "%s-workspace" .Release.Name) }}
{{- end }}

{{/* What every pod has: who it runs as, its volumes, where it may run. */}}
{{- define "sluice.pod" -}}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.runAs }}
  runAsGroup: {{ .Values.runAs }}
  fsGroup: {{ .Values.runAs }}
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
# All on one node: SQLite's write-ahead log, which the venues' records are kept in, shares its index by the
# memory of one host. Trader and kill switch on two nodes would write one record past each other.
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            app.kubernetes.io/name: sluice
            app.kubernetes.io/instance: {{ .Release.Name }}
volumes:
  - name: workspace
    persistentVolumeClaim: {claimName: {{ include "sluice.claim" . }}}
  - name: files
    configMap: {name: {{ .Release.Name }}-files}
  - name: tmp
    emptyDir: {}
{{- end }}

{{/* What every container has: the image, no rights, its settings, its folders. */}}
{{- define "sluice.container" -}}
image: {{ include "sluice.image" . }}
{{- if not (or .Values.secretName .Values.settings.SLUICE_DATABASE_URL) }}
{{- fail "secretName is not set: name a Secret with SLUICE_DATABASE_URL, or set settings.SLUICE_DATABASE_URL to a reference" }}
{{- end }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
env:
  - {name: SLUICE_WORKSPACE, value: /workspace}
  - {name: SLUICE_LOGS, value: json}
  - {name: HOME, value: /tmp}
  {{- if .Values.policy }}
  - {name: SLUICE_POLICY, value: /etc/sluice/policy.toml}
  {{- end }}
  {{- if .Values.alerts }}
  - {name: SLUICE_ALERTS, value: /etc/sluice/alerts.toml}
  {{- end }}
  {{- if .Values.venues }}
  - {name: SLUICE_VENUES, value: /etc/sluice/venues.toml}
  {{- end }}
  {{- range $name, $value := .Values.settings }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
{{- with .Values.secretName }}
envFrom:
  - secretRef: {name: {{ . }}}
{{- end }}
volumeMounts:
  - {name: workspace, mountPath: /workspace}
  - {name: files, mountPath: /etc/sluice, readOnly: true}
  - {name: tmp, mountPath: /tmp}
{{- end }}
