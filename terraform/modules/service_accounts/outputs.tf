output "emails" {
  description = "Addresses of the accounts: worker, trainer, launcher, scheduler, builder."
  value       = { for purpose, account in google_service_account.accounts : purpose => account.email }

  # Whoever uses an account waits until it may do what it is for.
  depends_on = [
    google_artifact_registry_repository_iam_member.images,
    google_project_iam_member.launcher,
    google_project_iam_member.project,
    google_service_account_iam_member.launcher_acts_as,
    google_storage_bucket_iam_member.buckets,
    google_storage_bucket_iam_member.worker_sees_buckets,
  ]
}

output "ids" {
  description = "Full names of the accounts (projects/…/serviceAccounts/…)."
  value       = { for purpose, account in google_service_account.accounts : purpose => account.name }
}
