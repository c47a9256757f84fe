output "alert_policies" {
  description = "Full names of the alert policies: failed, late, slow, rejects."
  value = {
    failed  = google_monitoring_alert_policy.failed.name
    late    = google_monitoring_alert_policy.late.name
    slow    = google_monitoring_alert_policy.slow.name
    rejects = google_monitoring_alert_policy.rejects.name
  }
}

output "notification_channels" {
  description = "Every channel that hears of an alert."
  value       = local.channels
}
