# One role for each service account, by EKS Pod Identity: only a pod of that account in that cluster gets it.
# A statement names what it may touch. "*" stands only where AWS knows no resource for the action, and says so.

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  bedrock = length(var.bedrock_model_arns) > 0 ? {
    bedrock = {
      actions   = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
      resources = var.bedrock_model_arns
    }
  } : {}

  read_adapters = {
    list = { actions = ["s3:ListBucket"], resources = [var.adapters_bucket_arn] }
    read = { actions = ["s3:GetObject"], resources = ["${var.adapters_bucket_arn}/*"] }
    key  = { actions = ["kms:Decrypt"], resources = [var.data_key_arn] }
  }

  write_adapters = {
    list  = { actions = ["s3:ListBucket"], resources = [var.adapters_bucket_arn] }
    write = { actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"], resources = ["${var.adapters_bucket_arn}/*"] }
    key   = { actions = ["kms:Decrypt", "kms:GenerateDataKey"], resources = [var.data_key_arn] }
  }

  accounts = {
    bot = {
      namespace  = var.namespace, account = "almanac-bot"
      statements = merge(local.read_adapters, local.bedrock)
    }
    worker = {
      namespace  = var.namespace, account = "almanac-worker"
      statements = merge(local.write_adapters, local.bedrock)
    }
    serving = {
      namespace  = var.namespace, account = "almanac-serving"
      statements = local.read_adapters
    }
    metrics = {
      namespace  = var.namespace, account = "almanac-metrics"
      statements = { write = { actions = ["aps:RemoteWrite"], resources = [var.prometheus_arn] } }
    }
    keda = {
      namespace  = "keda", account = "keda-operator"
      statements = { query = { actions = ["aps:QueryMetrics"], resources = [var.prometheus_arn] } }
    }
    external-secrets = {
      namespace = "external-secrets", account = "external-secrets"
      statements = {
        read = { actions = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"], resources = var.secret_arns }
        key  = { actions = ["kms:Decrypt"], resources = [var.data_key_arn] }
      }
    }
    autoscaler = {
      namespace  = "kube-system", account = "cluster-autoscaler"
      statements = local.autoscaler
    }
    load-balancer = {
      namespace  = "kube-system", account = "aws-load-balancer-controller"
      statements = local.load_balancer
    }
  }

  autoscaler = {
    # The Describe actions of EC2 and Auto Scaling know no resources.
    look = {
      actions = [
        "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances",
        "autoscaling:DescribeLaunchConfigurations", "autoscaling:DescribeScalingActivities",
        "autoscaling:DescribeTags", "ec2:DescribeImages", "ec2:DescribeInstanceTypes",
        "ec2:DescribeLaunchTemplateVersions", "ec2:GetInstanceTypesFromInstanceRequirements",
      ]
      resources = ["*"]
    }
    # Labels and taints of a pool that has no node yet.
    pools = {
      actions   = ["eks:DescribeNodegroup"]
      resources = ["arn:${data.aws_partition.this.partition}:eks:${local.place}:nodegroup/${var.cluster_name}/*"]
    }
    # Groups are named by EKS; the tag that EKS puts on them says that they are this cluster's.
    scale = {
      actions   = ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"]
      resources = ["arn:${data.aws_partition.this.partition}:autoscaling:${local.place}:autoScalingGroup:*:autoScalingGroupName/eks-*"]
      condition = { variable = "aws:ResourceTag/kubernetes.io/cluster/${var.cluster_name}", value = "owned" }
    }
  }

  # Terraform owns the load balancer: the controller only says which pods stand behind it.
  load_balancer = {
    look = {
      actions = [
        "elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetHealth",
        "elasticloadbalancing:DescribeTags", "ec2:DescribeVpcs", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups",
        "ec2:DescribeInstances", "ec2:DescribeNetworkInterfaces", "ec2:DescribeAvailabilityZones",
      ]
      resources = ["*"]
    }
    register = {
      actions   = ["elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"]
      resources = [var.target_group_arn]
    }
  }

  place = "${data.aws_region.this.name}:${data.aws_caller_identity.this.account_id}"
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]
    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.this.account_id]
    }
  }
}

data "aws_iam_policy_document" "this" {
  #checkov:skip=CKV_AWS_356:Only the Describe actions of EC2, ELB and Auto Scaling stand on "*": AWS knows no resources for them
  for_each = local.accounts

  dynamic "statement" {
    for_each = each.value.statements
    content {
      sid       = replace(title(statement.key), "-", "")
      actions   = statement.value.actions
      resources = statement.value.resources
      dynamic "condition" {
        for_each = try([statement.value.condition], [])
        content {
          test     = "StringEquals"
          variable = condition.value.variable
          values   = [condition.value.value]
        }
      }
    }
  }
}

resource "aws_iam_role" "this" {
  for_each = local.accounts

  name               = "${var.name}-${each.key}"
  description        = "Service account ${each.value.namespace}/${each.value.account}"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "this" {
  for_each = local.accounts

  name   = each.key
  role   = aws_iam_role.this[each.key].id
  policy = data.aws_iam_policy_document.this[each.key].json
}

resource "aws_eks_pod_identity_association" "this" {
  for_each = local.accounts

  cluster_name    = var.cluster_name
  namespace       = each.value.namespace
  service_account = each.value.account
  role_arn        = aws_iam_role.this[each.key].arn
}
