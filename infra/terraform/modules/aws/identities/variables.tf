variable "name" {
  description = "Prefix of the roles."
  type        = string
}

variable "cluster_name" {
  description = "The EKS cluster."
  type        = string
}

variable "namespace" {
  description = "Namespace of the assistant."
  type        = string
}

variable "adapters_bucket_arn" {
  description = "Bucket of fine-tuned models."
  type        = string
}

variable "data_key_arn" {
  description = "KMS key of the bucket and of the secrets."
  type        = string
}

variable "secret_arns" {
  description = "Secrets that External Secrets may read."
  type        = list(string)
}

variable "prometheus_arn" {
  description = "Workspace of Managed Prometheus."
  type        = string
}

variable "target_group_arn" {
  description = "Target group of the bot."
  type        = string
}

variable "bedrock_model_arns" {
  description = "Models of Bedrock that bot and worker may call; empty: none."
  type        = list(string)
}
