variable "name" {
  description = "Name of the VPC, prefix of what is in it."
  type        = string
}

variable "cidr" {
  description = "Addresses of the VPC, a /16 to /20."
  type        = string
}

variable "zones" {
  description = "How many availability zones: two at least, which the load balancer and EKS ask for."
  type        = number
}

variable "nat" {
  description = "The way out: none, single (one gateway, cheaper) or per_zone (no zone depends on another)."
  type        = string
}

variable "interface_endpoints" {
  description = "AWS services that are reached without leaving the VPC, by their short names (about 7.30 USD a month a zone each)."
  type        = set(string)
}

variable "log_retention_days" {
  description = "How long flow logs are kept."
  type        = number
}

variable "logs_key_arn" {
  description = "KMS key of the log groups."
  type        = string
}
