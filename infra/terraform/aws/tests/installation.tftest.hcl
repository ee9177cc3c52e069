# Plans of the whole with the provider itself, offline: it checks every argument and writes out every policy, and the
# few answers that only an account can give are put in its place.

provider "aws" {
  region                      = "eu-central-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = true

  default_tags {
    tags = { application = "almanac", installation = "almanac", managed-by = "terraform" }
  }
}

override_data {
  target = module.network.data.aws_availability_zones.this
  values = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
}

override_data {
  target = module.encryption.data.aws_caller_identity.this
  values = { account_id = "111122223333" }
}

override_data {
  target = module.identities.data.aws_caller_identity.this
  values = { account_id = "111122223333" }
}

override_data {
  target = module.monitoring.data.aws_caller_identity.this
  values = { account_id = "111122223333" }
}

override_data {
  target = module.github[0].data.aws_caller_identity.this
  values = { account_id = "111122223333" }
}

override_data {
  target = module.cache.data.aws_secretsmanager_random_password.token
  values = { random_password = "drawn-by-nobody-drawn-by-nobody-" }
}

variables {
  generate_secrets = false # ephemeral passwords are drawn by AWS, of which there is none here
  account_id       = "111122223333"
  domain           = "almanac.example.com"
  admins           = ["arn:aws:iam::111122223333:role/Administrators"]
}

run "small" {
  command = plan

  variables {
    zone_id = "Z0123456789ABCDEFGHIJ"
  }

  assert {
    condition     = output.pools.gpu.min == 0 && output.pools.gpu.desired == 0 && output.pools.gpu.max == 1
    error_message = "The GPU pool is empty until something asks for a GPU."
  }
  assert {
    condition     = output.pools.gpu.taints == ["nvidia.com/gpu=true:NO_SCHEDULE"]
    error_message = "Nothing but what tolerates the taint runs on a node with a GPU."
  }
  assert {
    condition     = output.pools.gpu.labels["almanac/pool"] == "gpu" && output.pools.general.labels["almanac/pool"] == "general"
    error_message = "Pools are told apart by a label."
  }
  assert {
    condition     = output.pools.general.instance_types == tolist(["m6i.large"]) && output.pools.general.desired == 2
    error_message = "A small installation starts with two small nodes."
  }
  assert {
    condition     = module.network.nat_gateways == 1 && module.network.routes_out == 2
    error_message = "A small installation shares one NAT gateway."
  }
  assert {
    condition     = output.settings == "ALMANAC_ADAPTERS=s3://almanac-adapters-111122223333/adapters\nALMANAC_PUBLIC_URL=https://almanac.example.com\n"
    error_message = "The settings name the address that people reach."
  }
  assert {
    condition     = output.github_roles == {}
    error_message = "Without a repository there are no roles for workflows."
  }
}

run "single_figures_are_others" {
  command = plan

  variables {
    zone_id = "Z0123456789ABCDEFGHIJ"
    size    = "medium"
    overrides = {
      nat   = "none"
      nodes = { min = 2, desired = 5, max = 6 }
    }
  }

  assert {
    condition     = module.network.nat_gateways == 0 && module.network.routes_out == 0
    error_message = "Without NAT no route leads out of the private subnets."
  }
  assert {
    condition     = output.pools.general.desired == 5 && output.pools.general.instance_types == tolist(["m6i.xlarge"])
    error_message = "An override changes what it names, and nothing else of the size."
  }
}

run "large" {
  command = plan

  variables {
    size               = "large"
    certificate_arn    = "arn:aws:acm:eu-central-1:111122223333:certificate/12345678-1234-1234-1234-123456789012"
    api_cidrs          = ["203.0.113.0/24"]
    private_services   = true
    grafana            = true
    monthly_budget_usd = 6000
    alert_emails       = ["platform@example.com"]
    bedrock_model_arns = ["arn:aws:bedrock:eu-central-1::foundation-model/openai.gpt-oss-120b-1:0"]
    github = {
      repository    = "acme/almanac"
      state_bucket  = "almanac-state-111122223333"
      state_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/12345678-1234-1234-1234-123456789012"
    }
  }

  assert {
    condition     = output.pools.gpu.min == 0 && output.pools.gpu.desired == 0 && output.pools.gpu.max == 4
    error_message = "In every size the GPU pool starts empty."
  }
  assert {
    condition     = module.network.nat_gateways == 3 && module.network.routes_out == 3
    error_message = "In a large installation no zone leans on another's NAT gateway."
  }
  assert {
    condition     = toset(keys(output.github_roles)) == toset(["plan", "build", "deploy"])
    error_message = "Workflows have one role for each purpose."
  }
  assert {
    condition     = toset(keys(output.permissions.serving)) == toset(["list", "read", "key"]) && !contains(keys(output.permissions.serving), "bedrock")
    error_message = "The server of models reads adapters, and nothing else."
  }
  assert {
    condition     = contains(output.permissions.bot.bedrock.resources, "arn:aws:bedrock:eu-central-1::foundation-model/openai.gpt-oss-120b-1:0") && length(output.permissions.bot.bedrock.resources) == 1
    error_message = "Bedrock is open for the named model only."
  }
}

run "what_is_no_installation" {
  command = plan

  variables {
    name                   = "Almanac_Prod"
    account_id             = "1234"
    size                   = "huge"
    vpc_cidr               = "10.0.0.0/24"
    kubernetes_version     = "1.20"
    api_cidrs              = ["0.0.0.0/0"]
    admins                 = []
    postgres_version       = "15.4"
    database_parameters    = "sslmode=prefer"
    gpu_capacity           = "FREE"
    domain                 = "almanac"
    bedrock_model_arns     = ["arn:aws:bedrock:*::foundation-model/*"]
    log_retention_days     = 42
    requests_per_5_minutes = 1
    overrides              = { nat = "two", zones = 1, database_gib = 5, backup_days = 0, gpu_max = 99 }
    github                 = { repository = "almanac", state_bucket = "b", state_key_arn = "k" }
  }

  expect_failures = [
    var.name, var.account_id, var.size, var.vpc_cidr, var.kubernetes_version, var.api_cidrs, var.admins,
    var.postgres_version, var.gpu_capacity, var.domain, var.bedrock_model_arns, var.log_retention_days,
    var.requests_per_5_minutes, var.database_parameters, var.overrides, var.github, var.certificate_arn,
  ]
}
