# Postgres with pgvector: private, encrypted, TLS only. The master's password is made, kept and rotated by AWS.

locals {
  major = split(".", var.engine_version)[0]
  logs  = toset(["postgresql", "upgrade"])
}

resource "aws_db_subnet_group" "this" {
  name_prefix = "${var.name}-"
  description = "Data subnets of ${var.name}"
  subnet_ids  = var.subnet_ids
}

resource "aws_security_group" "this" {
  name_prefix = "${var.name}-postgres-"
  description = "Postgres, from the nodes only"
  vpc_id      = var.vpc_id
  tags        = { Name = "${var.name}-postgres" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "nodes" {
  security_group_id            = aws_security_group.this.id
  description                  = "Postgres from the nodes"
  referenced_security_group_id = var.client_security_group_id
  from_port                    = 5432
  to_port                      = 5432
  ip_protocol                  = "tcp"
}

resource "aws_db_parameter_group" "this" {
  name_prefix = "${var.name}-"
  family      = "postgres${local.major}"
  description = "TLS, statistics and room for building HNSW indexes"

  dynamic "parameter" {
    for_each = {
      "rds.force_ssl"                       = { value = "1", method = "immediate" }
      "log_connections"                     = { value = "1", method = "immediate" }
      "log_disconnections"                  = { value = "1", method = "immediate" }
      "log_lock_waits"                      = { value = "1", method = "immediate" }
      "log_min_duration_statement"          = { value = "2000", method = "immediate" }
      "idle_in_transaction_session_timeout" = { value = "300000", method = "immediate" }
      "shared_preload_libraries"            = { value = "pg_stat_statements", method = "pending-reboot" }
      # A quarter of the memory, in KiB: building the HNSW graph of a million chunks outside of memory takes hours.
      "maintenance_work_mem" = { value = "{DBInstanceClassMemory/4096}", method = "immediate" }
    }
    content {
      name         = parameter.key
      value        = parameter.value.value
      apply_method = parameter.value.method
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_338:How long logs are kept is the operator's decision (log_retention_days)
  for_each = local.logs

  name              = "/aws/rds/instance/${var.name}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.logs_key_arn
}

data "aws_iam_policy_document" "monitoring_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["monitoring.rds.amazonaws.com"]
    }
  }
}

data "aws_partition" "this" {}

resource "aws_iam_role" "monitoring" {
  name_prefix        = "${var.name}-rds-"
  assume_role_policy = data.aws_iam_policy_document.monitoring_trust.json
}

resource "aws_iam_role_policy_attachment" "monitoring" {
  role       = aws_iam_role.monitoring.name
  policy_arn = "arn:${data.aws_partition.this.partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

resource "aws_db_instance" "this" {
  #checkov:skip=CKV_AWS_157:A standby is the operator's decision (size small has none)
  #checkov:skip=CKV_AWS_293:On unless the operator turns it off to delete the installation
  identifier     = var.name
  engine         = "postgres"
  engine_version = var.engine_version
  instance_class = var.instance_class
  db_name        = "almanac"
  port           = 5432

  username                      = "almanac_master"
  manage_master_user_password   = true
  master_user_secret_kms_key_id = var.data_key_arn

  storage_type          = "gp3"
  allocated_storage     = var.storage_gib
  max_allocated_storage = var.storage_gib * 4
  storage_encrypted     = true
  kms_key_id            = var.data_key_arn

  db_subnet_group_name                = aws_db_subnet_group.this.name
  vpc_security_group_ids              = [aws_security_group.this.id]
  publicly_accessible                 = false
  multi_az                            = var.multi_az
  ca_cert_identifier                  = "rds-ca-rsa2048-g1"
  parameter_group_name                = aws_db_parameter_group.this.name
  iam_database_authentication_enabled = true

  auto_minor_version_upgrade = true
  maintenance_window         = "sun:03:30-sun:04:30"
  backup_window              = "01:00-02:00" # before the nightly comparison of the sources
  backup_retention_period    = var.backup_days
  copy_tags_to_snapshot      = true
  delete_automated_backups   = false
  deletion_protection        = var.deletion_protection
  skip_final_snapshot        = !var.deletion_protection
  final_snapshot_identifier  = "${var.name}-final"

  performance_insights_enabled          = true
  performance_insights_kms_key_id       = var.data_key_arn
  performance_insights_retention_period = 7
  monitoring_interval                   = 60
  monitoring_role_arn                   = aws_iam_role.monitoring.arn
  enabled_cloudwatch_logs_exports       = local.logs

  # AWS moves minor versions in the maintenance window; a plan shall not move them back.
  lifecycle {
    ignore_changes = [engine_version]
  }

  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy_attachment.monitoring]
}

# Searching only reads, and may do so here; what lags here lags for revocations, too (README, "Past one machine").
resource "aws_db_instance" "replica" {
  #checkov:skip=CKV_AWS_157:A replica is made anew, it needs no standby
  #checkov:skip=CKV_AWS_293:A replica holds nothing of its own
  #checkov:skip=CKV_AWS_133:Back-ups are the primary's
  count = var.replicas

  identifier                            = "${var.name}-replica-${count.index + 1}"
  replicate_source_db                   = aws_db_instance.this.identifier
  instance_class                        = var.instance_class
  storage_encrypted                     = true
  kms_key_id                            = var.data_key_arn
  vpc_security_group_ids                = [aws_security_group.this.id]
  publicly_accessible                   = false
  ca_cert_identifier                    = "rds-ca-rsa2048-g1"
  parameter_group_name                  = aws_db_parameter_group.this.name
  iam_database_authentication_enabled   = true
  auto_minor_version_upgrade            = true
  copy_tags_to_snapshot                 = true
  skip_final_snapshot                   = true
  performance_insights_enabled          = true
  performance_insights_kms_key_id       = var.data_key_arn
  performance_insights_retention_period = 7
  monitoring_interval                   = 60
  monitoring_role_arn                   = aws_iam_role.monitoring.arn
  enabled_cloudwatch_logs_exports       = local.logs
}
