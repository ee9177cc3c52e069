# What a plan refuses. The provider is the real one, offline, as in the other files, since mocks know no ephemeral values;
# nothing of it is asked here.

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
  values = { random_password = "0123456789abcdef0123456789abcdef" }
}

variables {
  generate_secrets = false # ephemeral passwords are drawn by AWS, of which there is none here
  account_id       = "111122223333"
  domain           = "almanac.example.com"
  admins           = ["arn:aws:iam::111122223333:role/Administrators"]
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
