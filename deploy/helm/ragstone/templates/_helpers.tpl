{{- define "ragstone.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ragstone.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ragstone.labels" -}}
{{ include "ragstone.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "ragstone.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- define "ragstone.claim" -}}
{{ default (printf "%s-data" (include "ragstone.fullname" .)) .Values.data.existingClaim }}
{{- end -}}

{{/* Names that the service answers to: its own in the cluster, those of the ingress, and settings.allowed_hosts. */}}
{{- define "ragstone.hosts" -}}
{{- $name := include "ragstone.fullname" . -}}
{{- $own := list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace) (printf "%s.%s.svc.cluster.local" $name .Release.Namespace) -}}
{{- $further := list -}}
{{- with .Values.settings.allowed_hosts }}{{ $further = list . }}{{ end -}}
{{- join "," (concat $own .Values.ingress.hosts $further) -}}
{{- end -}}

{{/* A value as a variable's text. Helm reads numbers as float64, which would print a million as 1e+06. */}}
{{- define "ragstone.plain" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) -}}{{ int64 . | toString | quote }}{{- else -}}{{ toString . | quote }}{{- end -}}
{{- end -}}

{{/* What the replicas and the indexing job have in common. */}}
{{- define "ragstone.environment" -}}
- name: RAGSTONE_ALLOWED_HOSTS
  value: {{ include "ragstone.hosts" . | quote }}
{{- range $name, $value := omit .Values.settings "allowed_hosts" }}
- name: {{ printf "RAGSTONE_%s" (upper $name) }}
  value: {{ include "ragstone.plain" $value }}
{{- end }}
{{- with .Values.ml.faiss }}
{{- $config := default (dict) .config }}
{{- $found := dict "FAISS_INDEX_TYPE" .indexType "FAISS_NLIST" .nlist "FAISS_NPROBE" .nprobe }}
{{- range $key, $value := $config }}
{{- $_ := set $found (printf "FAISS_CONFIG_%s" (upper (snakecase $key))) $value }}
{{- end }}
{{- range $name, $value := $found }}
{{- if $value }}
- name: {{ $name }}
  value: {{ include "ragstone.plain" $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "ragstone.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "ragstone.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* A volume that one node can mount keeps every pod on that node, also the one that an update starts beside the old. */}}
{{- define "ragstone.affinity" -}}
{{- if and .Values.data.enabled (eq .Values.data.accessMode "ReadWriteOnce") }}
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - labelSelector:
          matchLabels:
            {{- include "ragstone.selectorLabels" . | nindent 12 }}
        topologyKey: kubernetes.io/hostname
{{- end }}
{{- end -}}

{{- define "ragstone.volumes" -}}
- name: data
  {{- if .Values.data.enabled }}
  persistentVolumeClaim:
    claimName: {{ include "ragstone.claim" . }}
  {{- else }}
  emptyDir: {}
  {{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 256Mi
{{- end -}}

{{- define "ragstone.mounts" -}}
- name: data
  mountPath: /data
- name: tmp
  mountPath: /tmp
{{- end -}}
