# Once for each account, before everything else: where the state of the installations lies. Its own state is a local
# file of two resources' ids; lost, it can be imported again.

terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.95, < 6.0"
    }
  }
}

variable "account_id" {
  description = "The AWS account."
  type        = string
}

variable "region" {
  description = "The AWS region."
  type        = string
  default     = "eu-central-1"
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account_id]
  default_tags {
    tags = { application = "almanac", managed-by = "terraform" }
  }
}

data "aws_partition" "this" {}

data "aws_iam_policy_document" "key" {
  #checkov:skip=CKV_AWS_109:In a key policy the resource "*" is the key itself
  #checkov:skip=CKV_AWS_111:In a key policy the resource "*" is the key itself
  #checkov:skip=CKV_AWS_356:In a key policy the resource "*" is the key itself
  statement {
    actions   = ["kms:*"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.this.partition}:iam::${var.account_id}:root"]
    }
  }
}

resource "aws_kms_key" "state" {
  description         = "Terraform's state of Almanac"
  enable_key_rotation = true
  policy              = data.aws_iam_policy_document.key.json
}

module "bucket" {
  #checkov:skip=CKV_TF_1:The module is a folder of this repository
  source = "../../modules/aws/bucket"

  name              = "almanac-state-${var.account_id}"
  kms_key_arn       = aws_kms_key.state.arn
  old_versions_days = 365
}

output "backend" {
  description = "Content of state.config: `terraform -chdir=state output -raw backend > state.config`."
  value       = <<-EOT
    bucket     = "${module.bucket.name}"
    region     = "${var.region}"
    kms_key_id = "${aws_kms_key.state.arn}"
  EOT
}
