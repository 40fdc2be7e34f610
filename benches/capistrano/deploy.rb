# frozen_string_literal: true

set :application, 'bench'
set :deploy_to, ENV.fetch('APP')
set :keep_releases, ENV.fetch('KEEP').to_i
set :linked_dirs, ['log']
set :format_options, log_file: 'capistrano.log', color: false
set :ssh_options, config: [ENV.fetch('SSH_CONFIG')], user: 'root', verify_host_key: :always
