output "buckets" {
  description = "Names of the buckets: raw, models, templates, output, temp."
  value = merge(
    { for purpose, bucket in google_storage_bucket.kept : purpose => bucket.name },
    { temp = google_storage_bucket.temp.name },
  )
}

output "urls" {
  description = "The same as gs:// URLs."
  value = merge(
    { for purpose, bucket in google_storage_bucket.kept : purpose => bucket.url },
    { temp = google_storage_bucket.temp.url },
  )
}
