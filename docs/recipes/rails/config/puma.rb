bind "tcp://127.0.0.1:#{ENV.fetch("PORT")}"
threads 1, 3
environment "production"
pidfile "tmp/pids/server.pid"
