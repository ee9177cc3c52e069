variable "name" {
  description = "Identifier of the replication group."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Data subnets."
  type        = list(string)
}

variable "client_security_group_id" {
  description = "Who may connect: the security group of the nodes."
  type        = string
}

variable "node_type" {
  description = "Type of a node."
  type        = string
}

variable "nodes" {
  description = "One, or a primary with replicas in other zones."
  type        = number
}

variable "data_key_arn" {
  description = "KMS key of what lies on disk."
  type        = string
}

variable "logs_key_arn" {
  description = "KMS key of the log group."
  type        = string
}

variable "log_retention_days" {
  description = "How long the slow log is kept."
  type        = number
}
