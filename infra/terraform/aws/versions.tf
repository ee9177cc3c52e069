terraform {
  required_version = ">= 1.11" # write-only arguments and ephemeral values

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.95, < 6.0"
    }
  }

  # Bucket, key and region come with `terraform init -backend-config=state.config` (README).
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account_id]

  default_tags {
    tags = merge(var.tags, {
      application  = "almanac"
      installation = var.name
      managed-by   = "terraform"
    })
  }
}
