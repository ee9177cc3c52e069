variable "name" {
  description = "Prefix of the repositories."
  type        = string
}

variable "images" {
  description = "Images, one repository each: the targets of the Dockerfile."
  type        = set(string)
}

variable "keep" {
  description = "How many tagged images of each are kept."
  type        = number
  default     = 30
}

variable "data_key_arn" {
  description = "KMS key of the images."
  type        = string
}
