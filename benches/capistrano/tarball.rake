# frozen_string_literal: true

namespace :tarball do
  task :create_release do
    tarball = File.join(ENV.fetch('WORK'), 'app.tgz')
    system('tar', '-C', ENV.fetch('ARTIFACT'), '-czf', tarball, '.', exception: true)
    on release_roles(:all) do
      execute :mkdir, '-p', release_path
      upload! tarball, "#{release_path}/app.tgz"
      within release_path do
        execute :tar, '-xzf', 'app.tgz'
        execute :rm, 'app.tgz'
      end
      upload! ENV.fetch('ENV_FILE'), "#{release_path}/.env"
      execute :chmod, '600', "#{release_path}/.env"
    end
  end

  task :restart do
    on(release_roles(:all)) { execute :true }
  end
end
