variable "name" {
  description = "Name of the workspaces."
  type        = string
}

variable "rules" {
  description = "Rules of Prometheus, as YAML."
  type        = string
}

variable "alert_emails" {
  description = "Who is told of alerts and of costs; each confirms by the mail that AWS sends."
  type        = set(string)
}

variable "grafana" {
  description = "Whether to make a workspace of Managed Grafana; it needs IAM Identity Center, and costs by user."
  type        = bool
}

variable "monthly_budget_usd" {
  description = "Costs a month that are told of at 80 % and 100 % (forecast); 0: none."
  type        = number
}

variable "logs_key_arn" {
  description = "KMS key of logs and of the topic."
  type        = string
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
}
