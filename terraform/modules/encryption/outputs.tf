output "kms_key_name" {
  description = "The key, once every service that is to use it may."
  value       = var.kms_key_name

  depends_on = [google_kms_crypto_key_iam_member.agents]
}
