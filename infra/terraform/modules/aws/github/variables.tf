variable "name" {
  description = "Prefix of the roles."
  type        = string
}

variable "repository" {
  description = "The repository whose workflows may take the roles, as owner/name."
  type        = string
}

variable "environment" {
  description = "GitHub's environment that asks for approval before a roll-out."
  type        = string
}

variable "provider_exists" {
  description = "Whether the account has GitHub's OIDC provider already: an account has one at most."
  type        = bool
}

variable "repository_arns" {
  description = "Repositories of images that may be pushed to."
  type        = list(string)
}

variable "cluster_name" {
  description = "Name of the cluster that is rolled out to."
  type        = string
}

variable "state_bucket" {
  description = "Bucket of the Terraform state, which plans read."
  type        = string
}

variable "state_key_arn" {
  description = "KMS key of the state."
  type        = string
}
