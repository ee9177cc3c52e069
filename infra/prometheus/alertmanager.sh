#!/bin/sh
# Writes Alertmanager's configuration from the variables ALERT_… of .env, and starts it with it. Where none is set, alerts
# are shown on its page and in Grafana, and sent to nobody. Secrets go into files of their own, read by nobody else.
#
#   ALERT_EMAIL_TO, ALERT_EMAIL_FROM, ALERT_SMTP (host:port, with TLS), ALERT_SMTP_USER, ALERT_SMTP_PASSWORD
#   ALERT_SLACK_URL   an incoming webhook
#   ALERT_TEAMS_URL   a workflow "when a Teams webhook request is received"
#   ALERT_RUNBOOKS    where runbooks.md is read, so that messages can lead there
#
# `alertmanager.sh FOLDER` only writes; further words are the command that is started with the configuration.
set -eu
umask 077

folder=$1
shift
mkdir -p "$folder"

for value in "${ALERT_EMAIL_TO:-}" "${ALERT_EMAIL_FROM:-}" "${ALERT_SMTP:-}" "${ALERT_SMTP_USER:-}" "${ALERT_RUNBOOKS:-}"; do
  case $value in
    *'
'*) echo "A value of ALERT_… has more than one line." >&2; exit 1 ;;
  esac
done
if [ -n "${ALERT_EMAIL_TO:-}" ] && { [ -z "${ALERT_SMTP:-}" ] || [ -z "${ALERT_EMAIL_FROM:-}" ]; }; then
  echo "ALERT_EMAIL_TO needs ALERT_SMTP (host:port) and ALERT_EMAIL_FROM." >&2
  exit 1
fi

quoted() { printf "'%s'" "$(printf %s "$1" | sed "s/'/''/g")"; } # as YAML takes it word for word
secret() { printf %s "$2" > "$folder/$1"; }

email() {
  [ -n "${ALERT_EMAIL_TO:-}" ] || return 0
  cat << YAML
    email_configs:
      - to: $(quoted "$ALERT_EMAIL_TO")
        from: $(quoted "$ALERT_EMAIL_FROM")
        smarthost: $(quoted "$ALERT_SMTP")
        require_tls: true
        send_resolved: true
        headers: {Subject: '{{ template "almanac.title" . }}'}
        html: ''
        text: '{{ template "almanac.text" . }}'
YAML
  [ -n "${ALERT_SMTP_USER:-}" ] || return 0
  secret smtp "${ALERT_SMTP_PASSWORD:-}"
  cat << YAML
        auth_username: $(quoted "$ALERT_SMTP_USER")
        auth_password_file: $(quoted "$folder/smtp")
YAML
}

slack() {
  [ -n "${ALERT_SLACK_URL:-}" ] || return 0
  secret slack "$ALERT_SLACK_URL"
  cat << YAML
    slack_configs:
      - api_url_file: $(quoted "$folder/slack")
        send_resolved: true
        title: '{{ template "almanac.title" . }}'
        title_link: '{{ template "almanac.link" . }}'
        text: '{{ template "almanac.text" . }}'
YAML
}

teams() {
  [ -n "${ALERT_TEAMS_URL:-}" ] || return 0
  secret teams "$ALERT_TEAMS_URL"
  cat << YAML
    msteamsv2_configs:
      - webhook_url_file: $(quoted "$folder/teams")
        send_resolved: true
        title: '{{ template "almanac.title" . }}'
        text: '{{ template "almanac.text" . }}'
YAML
}

link=${ALERT_RUNBOOKS:+${ALERT_RUNBOOKS%/}/}
cat > "$folder/almanac.tmpl" << TEMPLATES
{{ define "almanac.link" }}{{ with .CommonAnnotations.runbook_url }}$link{{ . }}{{ end }}{{ end }}
{{ define "almanac.title" }}{{ if eq .Status "firing" }}[{{ .CommonLabels.severity }}]{{ else }}[over]{{ end }} {{ .GroupLabels.alertname }}{{ end }}
{{ define "almanac.text" }}{{ range .Alerts }}{{ .Annotations.summary }}
{{ end }}What to do: {{ template "almanac.link" . }}{{ end }}
TEMPLATES

# One message for each kind of alert; pages again after four hours, tickets after a day.
cat > "$folder/alertmanager.yml" << YAML
templates: [$(quoted "$folder/almanac.tmpl")]
route:
  receiver: people
  group_by: [alertname, severity]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 24h
  routes:
    - matchers: [severity="page"]
      repeat_interval: 4h
inhibit_rules:
  - source_matchers: [alertname="AlmanacErrorsFast"]
    target_matchers: [alertname="AlmanacErrorsSlow"]
receivers:
  - name: people
$(email)
$(slack)
$(teams)
YAML

[ $# -eq 0 ] || exec "$@" --config.file="$folder/alertmanager.yml"
