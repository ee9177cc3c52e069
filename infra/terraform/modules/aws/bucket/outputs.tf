output "name" {
  description = "Name of the bucket, known when its policy is in force: load balancers try to write at once."
  value       = aws_s3_bucket.this.bucket
  depends_on  = [aws_s3_bucket_policy.this]
}

output "arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.this.arn
}
