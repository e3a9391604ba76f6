{{- define "rung.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "rung.labels" -}}
app.kubernetes.io/name: rung
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "rung.selector" -}}
app.kubernetes.io/name: rung
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "rung.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "rung.place" -}}
- name: RUNG_HOME
  value: /var/lib/rung
- name: RUNG_SERVER_HOST
  value: 0.0.0.0
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: RUNG_SERVER_HOSTS
  value: {{ printf "$(POD_IP),%s-server,%s-server.%s.svc,%s-serve,%s-serve.%s.svc,%s,%s" (include "rung.name" .) (include "rung.name" .) .Release.Namespace (include "rung.name" .) (include "rung.name" .) .Release.Namespace .Values.ingress.host .Values.hosts | trimSuffix "," | quote }}
- name: RUNG_SERVING_DRAIN_S
  value: "5"
{{- end -}}

{{- define "rung.env" -}}
{{ include "rung.place" . }}
- name: RUNG_STORAGE_DATABASE
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.secret }}
      key: {{ .Values.database.key }}
- name: RUNG_STORAGE_BLOBS
  value: {{ .Values.blobs.url | quote }}
{{- end -}}

{{- define "rung.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 10001
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "rung.probes" -}}
startupProbe:
  httpGet: {path: /readyz, port: http, httpHeaders: [{name: Host, value: localhost}]}
  periodSeconds: 2
  failureThreshold: 90
readinessProbe:
  httpGet: {path: /readyz, port: http, httpHeaders: [{name: Host, value: localhost}]}
  periodSeconds: 5
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /healthz, port: http, httpHeaders: [{name: Host, value: localhost}]}
  periodSeconds: 10
  failureThreshold: 3
{{- end -}}
