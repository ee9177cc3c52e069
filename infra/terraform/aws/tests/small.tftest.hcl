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
  values = { random_password = "0123456789abcdef0123456789abcdef" }
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
