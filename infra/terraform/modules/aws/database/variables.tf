variable "name" {
  description = "Identifier of the instance."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Data subnets, of two zones at least."
  type        = list(string)
}

variable "client_security_group_id" {
  description = "Who may connect: the security group of the nodes."
  type        = string
}

variable "engine_version" {
  description = "Version of Postgres, major and minor."
  type        = string
}

variable "instance_class" {
  description = "Class of the instance."
  type        = string
}

variable "storage_gib" {
  description = "Storage at the start; it grows by itself to four times that."
  type        = number
}

variable "multi_az" {
  description = "A standby in another zone, which takes over in a minute or two."
  type        = bool
}

variable "replicas" {
  description = "Read replicas, for searching."
  type        = number
}

variable "backup_days" {
  description = "How far back a point in time can be restored."
  type        = number
}

variable "deletion_protection" {
  description = "Whether the instance refuses to be deleted, and leaves a snapshot where it is."
  type        = bool
}

variable "data_key_arn" {
  description = "KMS key of storage, backups and the master's password."
  type        = string
}

variable "logs_key_arn" {
  description = "KMS key of the log groups."
  type        = string
}

variable "log_retention_days" {
  description = "How long Postgres' logs are kept."
  type        = number
}
