{{- define "clearsky.name" -}}
{{- if contains "clearsky" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-clearsky" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "clearsky.selector" -}}
app.kubernetes.io/name: clearsky
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "clearsky.labels" -}}
{{ include "clearsky.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
