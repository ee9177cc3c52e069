output "arns" {
  description = "ARN of each key: data, cluster, logs."
  value       = { for name, key in aws_kms_key.this : name => key.arn }
}
