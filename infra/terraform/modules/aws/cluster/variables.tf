variable "name" {
  description = "Name of the cluster."
  type        = string
}

variable "kubernetes_version" {
  description = "Kubernetes' minor version."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of the nodes and of the control plane's interfaces."
  type        = list(string)
}

variable "api_cidrs" {
  description = "Addresses that may reach the API from outside; empty: the API is private."
  type        = list(string)
}

variable "admins" {
  description = "ARNs of IAM roles or users that administer the cluster."
  type        = set(string)
}

variable "deployers" {
  description = "Roles that roll out the assistant, by a name of your own: administrators of its namespace, and of nothing else."
  type        = map(string)
}

variable "namespace" {
  description = "Namespace of the assistant."
  type        = string
}

variable "general" {
  description = "Nodes for everything without a GPU."
  type = object({
    instance_types = list(string)
    min            = number
    desired        = number
    max            = number
    disk_gib       = number
  })
}

variable "gpu" {
  description = "Nodes with a GPU, of which there are none until a pod asks for one."
  type = object({
    instance_types = list(string)
    max            = number
    disk_gib       = number
    capacity_type  = string
  })
}

variable "secrets_key_arn" {
  description = "KMS key that encrypts Kubernetes' secrets."
  type        = string
}

variable "logs_key_arn" {
  description = "KMS key of the control plane's logs."
  type        = string
}

variable "log_retention_days" {
  description = "How long the control plane's logs are kept."
  type        = number
}
