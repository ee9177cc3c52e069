variable "name" {
  description = "Name of the bucket, unique in the world."
  type        = string
}

variable "kms_key_arn" {
  description = "KMS key; null: S3's own keys, the only ones that load balancers can log with."
  type        = string
  default     = null
}

variable "expire_days" {
  description = "After how many days objects go; 0: never."
  type        = number
  default     = 0
}

variable "old_versions_days" {
  description = "How long overwritten and deleted versions can be brought back."
  type        = number
  default     = 90
}

variable "log_bucket" {
  description = "Bucket that gets this one's access log; null: none."
  type        = string
  default     = null
}

variable "statements" {
  description = "More statements of the bucket's policy, as JSON documents."
  type        = list(string)
  default     = []
}

variable "force_destroy" {
  description = "Whether the bucket may be deleted with what is in it."
  type        = bool
  default     = false
}
