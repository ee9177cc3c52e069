output "prometheus_arn" {
  description = "Workspace of Managed Prometheus."
  value       = aws_prometheus_workspace.this.arn
}

output "prometheus_endpoint" {
  description = "Endpoint of the workspace; metrics are written to it plus api/v1/remote_write."
  value       = aws_prometheus_workspace.this.prometheus_endpoint
}

output "alerts_topic_arn" {
  description = "Topic that alerts are published to."
  value       = aws_sns_topic.alerts.arn
}

output "grafana_endpoint" {
  description = "Address of Grafana, where there is one."
  value       = one(aws_grafana_workspace.this[*].endpoint)
}
