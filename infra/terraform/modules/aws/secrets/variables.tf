variable "name" {
  description = "Prefix of the secrets' names."
  type        = string
}

variable "data_key_arn" {
  description = "KMS key of the secrets."
  type        = string
}

variable "generate" {
  description = "Whether passwords and tokens are drawn here; false: the entries are made, and all of them are yours to fill."
  type        = bool
}

variable "generated_version" {
  description = "Raise it to draw new passwords and tokens at the next apply."
  type        = number
}

variable "database" {
  description = "Hosts of the database, its name, and libpq's parameters."
  type = object({
    address        = string
    reader_address = string
    parameters     = string
  })
}

variable "redis_url" {
  description = "ALMANAC_REDIS_URL."
  type        = string
  sensitive   = true
}

variable "recovery_days" {
  description = "How long a deleted secret can be brought back."
  type        = number
  default     = 30
}
