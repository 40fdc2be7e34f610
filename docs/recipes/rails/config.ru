# In a Rails app: require_relative "config/environment"; run Rails.application
well = true
run(lambda do |env|
  if env["PATH_INFO"] == "/up"
    [well ? 200 : 500, {}, [well ? "up\n" : "down\n"]]
  else
    File.write("log/production.log", "#{env["PATH_INFO"]}\n", mode: "a")
    [200, { "content-type" => "text/plain" }, ["todo 1, #{File.read("storage/schema").lines.size} migrations\n"]]
  end
end)
