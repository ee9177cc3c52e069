variable "name" {
  description = "Name of the installation, in the names of everything it has."
  type        = string
  default     = "almanac"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,14}[a-z0-9]$", var.name))
    error_message = "name has 3 to 16 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "unique" {
  description = "A few letters and digits that make the names unique in the world which have to be (registry, storage, vault)."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]{3,6}$", var.unique))
    error_message = "unique has 3 to 6 lower-case letters and digits."
  }
}

variable "subscription_id" {
  description = "The subscription."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", var.subscription_id))
    error_message = "subscription_id is a UUID."
  }
}

variable "location" {
  description = "The Azure region, one with availability zones."
  type        = string
  default     = "germanywestcentral"
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
    node_size    = optional(string)
    nodes        = optional(object({ min = number, max = number }))
    gpu_size     = optional(string)
    gpu_max      = optional(number)
    database_sku = optional(string)
    database_mib = optional(number)
    database_ha  = optional(bool)
    queue_sku    = optional(string)
    queue_ha     = optional(bool)
    backup_days  = optional(number)
    registry_sku = optional(string)
  })
  default = {}

  validation {
    condition     = coalesce(var.overrides.backup_days, 7) >= 7 && coalesce(var.overrides.backup_days, 7) <= 35
    error_message = "overrides.backup_days lies between 7 and 35."
  }
  validation {
    condition     = coalesce(var.overrides.gpu_max, 0) >= 0 && coalesce(var.overrides.gpu_max, 0) <= 16
    error_message = "overrides.gpu_max lies between 0 and 16."
  }
}

variable "address_space" {
  description = "Addresses of the virtual network, a /16 that nothing else of yours uses."
  type        = string
  default     = "10.72.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.address_space)) && endswith(var.address_space, "/16")
    error_message = "address_space is a /16, such as 10.72.0.0/16."
  }
}

variable "operator_cidrs" {
  description = "Addresses that Terraform and administrators come from: they may reach the vault, and the API of a cluster that is not private."
  type        = list(string)

  validation {
    condition     = alltrue([for cidr in var.operator_cidrs : can(cidrnetmask(cidr)) && tonumber(split("/", cidr)[1]) >= 16])
    error_message = "operator_cidrs are networks of /16 or smaller."
  }
}

variable "private_cluster" {
  description = "The cluster's API can be reached from the virtual network only."
  type        = bool
  default     = false
}

variable "kubernetes_version" {
  description = "Minor version of Kubernetes; patches come by themselves."
  type        = string
  default     = "1.34"
}

variable "admin_group_ids" {
  description = "Object ids of the Entra groups that administer the cluster."
  type        = list(string)

  validation {
    condition     = length(var.admin_group_ids) > 0
    error_message = "admin_group_ids names one group at least (else nobody could enter the cluster)."
  }
}

variable "database_parameters" {
  description = "libpq's parameters in the database's URLs; the authorities are those of the system that asks, ours or KEDA's."
  type        = string
  default     = "sslmode=verify-full&sslrootcert=system"

  validation {
    condition     = can(regex("sslmode=(require|verify-ca|verify-full)", var.database_parameters))
    error_message = "database_parameters has sslmode=require, verify-ca or verify-full."
  }
}

variable "gpu_spot" {
  description = "GPU nodes at the price of spot; a training that is evicted goes on at its checkpoint."
  type        = bool
  default     = true
}

variable "domain" {
  description = "Host name of the assistant, such as almanac.example.com; its record is yours to make (output gateway_address)."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.domain))
    error_message = "domain is a host name such as almanac.example.com."
  }
}

variable "allowed_cidrs" {
  description = "Addresses that may reach the gateway. Slack's and Teams' calls come from the internet."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

variable "teams" {
  description = "Registration of the bot: an app registration of your tenant (`az ad app create`); null: no bot in Teams."
  type = object({
    app_id    = string
    tenant_id = string
  })
  default = null
}

variable "openai" {
  description = "A deployment of Azure OpenAI; null: none (another model, or none at all)."
  type = object({
    model    = string
    version  = string
    sku      = optional(string, "DataZoneStandard") # data stay in the geography
    capacity = optional(number, 50)                 # thousands of tokens a minute
  })
  default = null
}

variable "grafana" {
  description = "Azure Managed Grafana, for the administrators' groups."
  type        = bool
  default     = false
}

variable "alert_emails" {
  description = "Who is told of alerts and of costs."
  type        = set(string)
  default     = []
}

variable "monthly_budget" {
  description = "Costs a month that alert_emails are told of, in the subscription's currency; 0: none."
  type        = number
  default     = 0
}

variable "budget_start" {
  description = "First day of a month from which costs are counted."
  type        = string
  default     = "2026-12-01T00:00:00Z"
}

variable "log_retention_days" {
  description = "How long Log Analytics keeps logs."
  type        = number
  default     = 90

  validation {
    condition     = var.log_retention_days >= 30 && var.log_retention_days <= 730
    error_message = "log_retention_days lies between 30 and 730."
  }
}

variable "secrets_version" {
  description = "Raise it to draw new passwords and tokens (docs/deploy.md says what has to follow)."
  type        = number
  default     = 1
}

variable "github" {
  description = "Identities for GitHub's workflows; null: none."
  type = object({
    repository         = string
    environment        = optional(string, "production")
    state_container_id = string
  })
  default = null

  validation {
    condition     = var.github == null ? true : can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.github.repository))
    error_message = "github.repository is owner/name."
  }
}
