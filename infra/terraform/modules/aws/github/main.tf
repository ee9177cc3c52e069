# Workflows get short-lived roles by OpenID Connect: no key of AWS lies at GitHub.
#   plan    on pull requests: reads the state, and cannot refresh it (plan.yml runs with -refresh=false)
#   build   on main: pushes images; a release rolls out what was built of its commit
#   deploy  in the environment that asks for approval: finds the cluster; what it may do there EKS says

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  host     = "token.actions.githubusercontent.com"
  iam      = "arn:${data.aws_partition.this.partition}:iam::${data.aws_caller_identity.this.account_id}"
  provider = "${local.iam}:oidc-provider/${local.host}"
  cluster  = "arn:${data.aws_partition.this.partition}:eks:${data.aws_region.this.name}:${data.aws_caller_identity.this.account_id}:cluster/${var.cluster_name}"
  state    = "arn:${data.aws_partition.this.partition}:s3:::${var.state_bucket}"

  subjects = {
    plan   = ["repo:${var.repository}:pull_request"]
    build  = ["repo:${var.repository}:ref:refs/heads/main"]
    deploy = ["repo:${var.repository}:environment:${var.environment}"]
  }

  push = [
    "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:DescribeImages",
    "ecr:GetDownloadUrlForLayer", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart",
  ]

  statements = {
    plan = {
      list  = { actions = ["s3:ListBucket"], resources = [local.state] }
      read  = { actions = ["s3:GetObject"], resources = ["${local.state}/${var.name}.tfstate"] }
      key   = { actions = ["kms:Decrypt"], resources = [var.state_key_arn] }
      zones = { actions = ["ec2:DescribeAvailabilityZones", "secretsmanager:GetRandomPassword"], resources = ["*"] }
    }
    build = {
      login = { actions = ["ecr:GetAuthorizationToken"], resources = ["*"] }
      push  = { actions = local.push, resources = var.repository_arns }
    }
    deploy = {
      cluster = { actions = ["eks:DescribeCluster"], resources = [local.cluster] }
      login   = { actions = ["ecr:GetAuthorizationToken"], resources = ["*"] }
      digest  = { actions = ["ecr:BatchGetImage", "ecr:DescribeImages"], resources = var.repository_arns }
    }
  }
}

resource "aws_iam_openid_connect_provider" "this" {
  count = var.provider_exists ? 0 : 1

  url            = "https://${local.host}"
  client_id_list = ["sts.amazonaws.com"]
}

data "aws_iam_policy_document" "trust" {
  #checkov:skip=CKV_AWS_358:The subjects are above, exact, and held by a test; checkov does not follow each.value
  for_each = local.subjects

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]
    principals {
      type        = "Federated"
      identifiers = [local.provider]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.host}:aud"
      values   = ["sts.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.host}:sub"
      values   = each.value
    }
  }
}

# "*" stands for the actions that AWS knows no resource for: login, zones, random passwords.
data "aws_iam_policy_document" "this" {
  #checkov:skip=CKV_AWS_356:Only actions stand on "*" that AWS knows no resource for
  for_each = local.statements

  dynamic "statement" {
    for_each = each.value
    content {
      sid       = title(statement.key)
      actions   = statement.value.actions
      resources = statement.value.resources
    }
  }
}

resource "aws_iam_role" "this" {
  for_each = local.subjects

  name                 = "${var.name}-github-${each.key}"
  description          = "GitHub workflows of ${var.repository}: ${each.key}"
  assume_role_policy   = data.aws_iam_policy_document.trust[each.key].json
  max_session_duration = 3600

  depends_on = [aws_iam_openid_connect_provider.this]
}

resource "aws_iam_role_policy" "this" {
  for_each = local.subjects

  name   = each.key
  role   = aws_iam_role.this[each.key].id
  policy = data.aws_iam_policy_document.this[each.key].json
}
