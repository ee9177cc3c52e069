variable "name" {
  description = "Name of the load balancer."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Public subnets, or private ones where the load balancer is internal."
  type        = list(string)
}

variable "internal" {
  description = "Whether it can be reached from inside the VPC only (Slack then needs Socket Mode, Teams has to reach it by other ways)."
  type        = bool
}

variable "allowed_cidrs" {
  description = "Addresses that may connect."
  type        = list(string)
}

variable "target_security_group_id" {
  description = "Security group of the bot's pods."
  type        = string
}

variable "domain" {
  description = "Host name of the assistant."
  type        = string
}

variable "zone_id" {
  description = "Route 53 zone of the domain; null: certificate and record are made elsewhere."
  type        = string
}

variable "certificate_arn" {
  description = "Certificate, where there is no zone_id to prove the domain with."
  type        = string
}

variable "log_bucket" {
  description = "Bucket of the access log."
  type        = string
}

variable "deletion_protection" {
  description = "Whether it refuses to be deleted."
  type        = bool
}

variable "requests_per_5_minutes" {
  description = "What one address may send before it is refused for a while."
  type        = number
}

variable "logs_key_arn" {
  description = "KMS key of the firewall's log."
  type        = string
}

variable "log_retention_days" {
  description = "How long the firewall's log is kept."
  type        = number
}
