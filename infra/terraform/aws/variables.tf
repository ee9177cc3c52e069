variable "name" {
  description = "Name of the installation, in the names of everything it has."
  type        = string
  default     = "almanac"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name has 3 to 20 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "account_id" {
  description = "The AWS account: Terraform stops where the credentials are another's."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id has twelve digits."
  }
}

variable "region" {
  description = "The AWS region."
  type        = string
  default     = "eu-central-1"
}

variable "tags" {
  description = "Further tags for everything."
  type        = map(string)
  default     = {}
}

variable "size" {
  description = "small (about 100 people, 100,000 passages), medium (1,000; a million) or large (10,000; 10 million)."
  type        = string
  default     = "small"

  validation {
    condition     = contains(["small", "medium", "large"], var.size)
    error_message = "size is small, medium or large."
  }
}

variable "overrides" {
  description = "Single figures of the size that shall be others (sizes.tf)."
  type = object({
    zones             = optional(number)
    nat               = optional(string)
    node_types        = optional(list(string))
    nodes             = optional(object({ min = number, desired = number, max = number }))
    gpu_types         = optional(list(string))
    gpu_max           = optional(number)
    database_class    = optional(string)
    database_gib      = optional(number)
    database_multi_az = optional(bool)
    database_replicas = optional(number)
    cache_type        = optional(string)
    cache_nodes       = optional(number)
    backup_days       = optional(number)
  })
  default = {}

  validation {
    condition     = contains(["none", "single", "per_zone"], coalesce(var.overrides.nat, "single"))
    error_message = "overrides.nat is none, single or per_zone."
  }
  validation {
    condition     = contains([2, 3], coalesce(var.overrides.zones, 3))
    error_message = "overrides.zones is 2 or 3."
  }
  validation {
    condition     = coalesce(var.overrides.database_gib, 20) >= 20 && coalesce(var.overrides.database_gib, 20) <= 16384
    error_message = "overrides.database_gib lies between 20 and 16384."
  }
  validation {
    condition     = coalesce(var.overrides.backup_days, 7) >= 7 && coalesce(var.overrides.backup_days, 7) <= 35
    error_message = "overrides.backup_days lies between 7 and 35."
  }
  validation {
    condition     = coalesce(var.overrides.gpu_max, 0) >= 0 && coalesce(var.overrides.gpu_max, 0) <= 16
    error_message = "overrides.gpu_max lies between 0 and 16; for no GPU pool at all, set gpu to false."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the VPC, a /16 that nothing else of yours uses."
  type        = string
  default     = "10.64.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr)) && endswith(var.vpc_cidr, "/16")
    error_message = "vpc_cidr is a /16, such as 10.64.0.0/16."
  }
}

variable "private_services" {
  description = "Reach the AWS services that Almanac uses by interface endpoints; always so where overrides.nat is none."
  type        = bool
  default     = false
}

variable "kubernetes_version" {
  description = "Minor version of Kubernetes. 1.35 is in standard support until 27 March 2027."
  type        = string
  default     = "1.35"

  validation {
    condition     = can(regex("^1\\.(3[3-9]|[4-9][0-9])$", var.kubernetes_version))
    error_message = "kubernetes_version is a minor version from 1.33 on, such as 1.35."
  }
}

variable "api_cidrs" {
  description = "Addresses that may reach the cluster's API from outside; empty: only from inside the VPC."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.api_cidrs : can(cidrnetmask(cidr)) && tonumber(split("/", cidr)[1]) >= 16])
    error_message = "api_cidrs are networks of /16 or smaller: the API is not for everybody."
  }
}

variable "admins" {
  description = "ARNs of the IAM roles or users that administer the cluster."
  type        = set(string)

  validation {
    condition     = length(var.admins) > 0 && alltrue([for arn in var.admins : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/", arn))])
    error_message = "admins are ARNs of IAM roles or users, one at least (else nobody could enter the cluster)."
  }
}

variable "postgres_version" {
  description = "Version of Postgres; pgvector 0.8, which Almanac needs, comes with 17.4 and newer."
  type        = string
  default     = "17.6"

  validation {
    condition     = can(regex("^(17\\.([4-9]|[1-9][0-9])|1[89]\\.[0-9]+)$", var.postgres_version))
    error_message = "postgres_version is 17.4 or newer: earlier ones lack pgvector 0.8."
  }
}

variable "database_parameters" {
  description = "libpq's parameters in the database's URLs; the certificates are those that infra/kubernetes/authorities.sh brings."
  type        = string
  default     = "sslmode=verify-full&sslrootcert=/etc/almanac/authorities/database.pem"

  validation {
    condition     = can(regex("sslmode=(require|verify-ca|verify-full)", var.database_parameters))
    error_message = "database_parameters has sslmode=require, verify-ca or verify-full."
  }
}

variable "gpu_capacity" {
  description = "SPOT (about a third of the price; a training that is interrupted goes on at its checkpoint) or ON_DEMAND."
  type        = string
  default     = "SPOT"

  validation {
    condition     = contains(["SPOT", "ON_DEMAND"], var.gpu_capacity)
    error_message = "gpu_capacity is SPOT or ON_DEMAND."
  }
}

variable "domain" {
  description = "Host name of the assistant, such as almanac.example.com."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.domain))
    error_message = "domain is a host name such as almanac.example.com."
  }
}

variable "zone_id" {
  description = "Route 53 zone of the domain; null: you make the record, and bring certificate_arn."
  type        = string
  default     = null
}

variable "certificate_arn" {
  description = "Certificate of the domain in ACM, where zone_id is not given."
  type        = string
  default     = null

  validation {
    condition     = (var.certificate_arn == null) != (var.zone_id == null)
    error_message = "Give either zone_id (a certificate is made) or certificate_arn."
  }
}

variable "internal" {
  description = "Load balancer inside the VPC only. Slack then needs Socket Mode."
  type        = bool
  default     = false
}

variable "allowed_cidrs" {
  description = "Addresses that may reach the load balancer. Slack's and Teams' calls come from the internet."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

variable "requests_per_5_minutes" {
  description = "What one address may send before the firewall refuses it for a while."
  type        = number
  default     = 3000

  validation {
    condition     = var.requests_per_5_minutes >= 100
    error_message = "requests_per_5_minutes is 100 at least."
  }
}

variable "bedrock_model_arns" {
  description = "Models of Amazon Bedrock that bot and worker may call, by ARN; empty: none."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.bedrock_model_arns : can(regex("^arn:aws[a-z-]*:bedrock:[a-z0-9-]*:[0-9]*:(foundation-model|inference-profile)/[a-z0-9.:-]+$", arn))])
    error_message = "bedrock_model_arns name models or inference profiles, without wildcards."
  }
}

variable "alert_emails" {
  description = "Who is told of alerts and of costs."
  type        = set(string)
  default     = []
}

variable "grafana" {
  description = "A workspace of Amazon Managed Grafana; needs IAM Identity Center."
  type        = bool
  default     = false
}

variable "monthly_budget_usd" {
  description = "Costs a month that alert_emails are told of; 0: none. Needs the cost allocation tag `installation`."
  type        = number
  default     = 0
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps logs."
  type        = number
  default     = 90

  validation {
    condition     = contains([7, 14, 30, 60, 90, 180, 365, 400, 731], var.log_retention_days)
    error_message = "log_retention_days is 7, 14, 30, 60, 90, 180, 365, 400 or 731."
  }
}

variable "deletion_protection" {
  description = "Set to false, and apply, before the installation is destroyed."
  type        = bool
  default     = true
}

variable "generate_secrets" {
  description = "Draw passwords and tokens; false: the entries of Secrets Manager are made, and all of them are yours to fill."
  type        = bool
  default     = true
}

variable "secrets_version" {
  description = "Raise it to draw new passwords and tokens (docs/deploy.md says what has to follow)."
  type        = number
  default     = 1
}

variable "github" {
  description = "Roles for GitHub's workflows; null: none."
  type = object({
    repository      = string
    environment     = optional(string, "production")
    provider_exists = optional(bool, false)
    state_bucket    = string
    state_key_arn   = string
  })
  default = null

  validation {
    condition     = var.github == null ? true : can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.github.repository))
    error_message = "github.repository is owner/name."
  }
}
